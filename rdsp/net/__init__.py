"""Sockets, TLS and the switchboard: where bytes are waited for."""

"""Benchmarks: the proxy against PgBouncer and a direct connection, on one server, in one run (`make bench`)."""

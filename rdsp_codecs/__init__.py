"""Engines without I/O: how each database's wire is read, logged in to, relayed and kept in step.

`api` says what an engine offers; `postgres` is one. Nothing here waits, reads a clock or opens a socket.
"""

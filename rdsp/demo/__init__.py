"""`rdsp demo`: a real PostgreSQL, the proxy in front of it, and hundreds of clients, on one machine in one command."""

from rdsp.demo.run import main

__all__ = ["main"]

"""`rdsp demo`: a real database server, the proxy in front of it and hundreds of clients, by one command."""

from rdsp.demo.run import main

__all__ = ["main"]

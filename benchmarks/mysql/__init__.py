"""Benchmarks with MySQL: the proxy against MySQL Router and a direct connection, on one server, in one run.

`python -m benchmarks.mysql` (`make bench-mysql`) runs them; docs/explanation/performance.md has the method.
"""

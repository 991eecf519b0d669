"""Benchmarks: the proxy against PgBouncer and a direct connection, on one server, in one run.

`python -m benchmarks` (`make bench`, `make bench-full`) runs them. They are no tests; docs/explanation/performance.md
has the method.
"""

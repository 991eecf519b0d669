"""Benchmarks: the proxy against PgBouncer and a direct connection, on one server, in one run (`make bench`).

`python -m benchmarks` is the comparison, `python -m benchmarks.profile` says where the proxy's time goes, and
`python -m benchmarks.micro` times its single parts. None of them is a test; docs/explanation/performance.md has the
method.
"""

"""PostgreSQL's own test suites, directly and through the proxy: `python -m tests.regress`.

Not collected by pytest, but for the tests of its own parsing: it needs PostgreSQL's sources and a build of them, of
which nothing is in this repository. docs/explanation/regression-suite.md says how to run it.
"""

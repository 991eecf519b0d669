"""Engines without I/O: how each database's wire is read, logged in to, relayed and kept in step.

`api` says what an engine offers; `postgres` is one. Nothing here waits, reads a clock or opens a socket.
"""

import rdsp_codecs.choice  # noqa: F401 - before any module that may be compiled

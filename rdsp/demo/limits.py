"""Limits of this machine that hundreds of clients would meet. The demo and its load call it as they start."""

from __future__ import annotations

import resource


def allow_files() -> None:
    """Raise this process's limit on open files as far as it may be: every connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

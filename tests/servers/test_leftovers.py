"""Tests that are killed leave nothing running."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.waiting import eventually

PROGRAM = """
import os, signal, subprocess, sys, tempfile
from tests.servers.leftovers import forget, watch

left, ended = (subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, start_new_session=True) for _ in range(2))
folder = tempfile.mkdtemp(dir=sys.argv[1])
watch(left.pid, signal.SIGKILL, folder)
watch(ended.pid, signal.SIGKILL, sys.argv[1])
forget(ended.pid)
print(left.pid, ended.pid, folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it looks into /proc, as on Linux")
def test_what_a_killed_test_process_left_is_ended_and_nothing_else() -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", PROGRAM, folder], stdout=subprocess.PIPE, text=True, check=False)
        left, ended, inner = done.stdout.split()
        try:
            eventually(lambda: not _runs(int(left)))
            eventually(lambda: not Path(inner).exists())
            assert _runs(int(ended))
            assert Path(folder).exists()
        finally:
            subprocess.run(["kill", ended], check=True)

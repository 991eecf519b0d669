"""What tests that are killed themselves leave running is ended: by a process that lives until they are gone.

A test process that is interrupted among several, or that hangs and is ended for it, tears nothing down.
"""

from __future__ import annotations

import atexit
import signal
import subprocess
import sys
import threading
from pathlib import Path

_PROGRAM = """
import os, shutil, sys, time

def began(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            words = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if words[0] == "Z" else words[19]

left = {}
for line in sys.stdin:
    number, how, folder = line.rstrip("\\n").split(" ", 2)
    if how == "0":
        left.pop(number, None)
    else:
        left[number] = began(number), int(how), folder
for number, (start, how, folder) in left.items():
    if start and began(number) == start:
        os.kill(int(number), how)
        deadline = time.monotonic() + 30
        while began(number) == start and time.monotonic() < deadline:
            time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)
"""
_lock = threading.Lock()
_caretaker: subprocess.Popen[str] | None = None


def watch(pid: int, how: signal.Signals, folder: Path | str) -> None:
    """When this process is gone, end that one by the signal `how`, and delete its folder. Until `forget`."""
    _say(pid, how, str(folder))


def forget(pid: int) -> None:
    """It has ended, or is ended by somebody else."""
    _say(pid, 0, "")


def _say(pid: int, how: int, folder: str) -> None:
    global _caretaker
    with _lock:
        if _caretaker is None:
            _caretaker = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            atexit.register(_dismiss, _caretaker)
        assert _caretaker.stdin is not None
        print(pid, how, folder, file=_caretaker.stdin, flush=True)


def _dismiss(caretaker: subprocess.Popen[str]) -> None:
    assert caretaker.stdin is not None
    caretaker.stdin.close()
    caretaker.wait(60)

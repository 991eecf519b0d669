"""What the operating system knows: CPU and memory of a process, and facts about the machine. Linux only.

CPU is read from the process's own CPU clock (`clock_getcpuclockid(3)`): user and system time of all threads, those
that have ended too, in nanoseconds. `/proc/PID/stat` has the same account in ticks of 10 ms, and the per-thread
`schedstat` files forget a thread that has ended.
"""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
import time
from pathlib import Path

import attrs
import trio

_PROC = Path("/proc")
_CPUCLOCK_SCHED = 2
"""linux/posix-timers.h; the clock of process `pid` is `~pid << 3 | CPUCLOCK_SCHED`."""


def cpu_seconds(pids: list[int]) -> float:
    """CPU that these processes have used so far, user and system. Raises `OSError` when one does not exist."""
    return sum(time.clock_gettime_ns(~pid << 3 | _CPUCLOCK_SCHED) for pid in pids) / 1e9


def user_share(pid: int, before: tuple[int, int]) -> float:
    """The part of a process's CPU that was spent outside the kernel since `before` (an earlier `ticks`)."""
    user, system = (now - then for now, then in zip(ticks(pid), before, strict=True))
    return user / (user + system) if user + system else 0.0


def ticks(pid: int) -> tuple[int, int]:
    """User and system time of a process in clock ticks (proc(5), `/proc/PID/stat`)."""
    fields = _stat(pid)
    return int(fields[11]), int(fields[12])


def family(pid: int) -> list[int]:
    """A process and its children, should it have worker processes."""
    found = [pid]
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                if int(_stat(int(folder.name))[1]) == pid:
                    found.append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` behind the program's name: [0] is the state."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def memory_kib(pids: list[int]) -> int:
    """The proportional set size of these processes: a page that several share counts in parts."""
    total = 0
    for pid in pids:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def connections_to(pid: int, port: int) -> int:
    """How many established TCP connections to a port of this machine a process has (IPv4)."""
    inodes = set()
    for line in (_PROC / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "01" and int(fields[2].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    count = 0
    for entry in (_PROC / str(pid) / "fd").iterdir():
        try:
            count += os.readlink(entry) in inodes
        except FileNotFoundError:
            continue
    return count


@attrs.frozen
class Times:
    """Ticks of all cores since the machine started: all, idle ones, and those the hypervisor kept for others."""

    total: int
    idle: int
    stolen: int

    @classmethod
    def now(cls) -> Times:
        """Read `/proc/stat`."""
        values = [int(part) for part in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]]
        return cls(sum(values), values[3] + values[4], values[7])

    def since(self, earlier: Times) -> dict[str, float]:
        """Percentages of the time between."""
        total = max(1, self.total - earlier.total)
        return {
            "idle_percent": round(100 * (self.idle - earlier.idle) / total, 2),
            "stolen_percent": round(100 * (self.stolen - earlier.stolen) / total, 2),
        }


def facts() -> dict[str, object]:
    """What a reader has to know about the machine and the software that was really run."""
    model = ""
    for line in (_PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "trio": trio.__version__,
        "openssl": ssl.OPENSSL_VERSION,
        "commit": _commit(),
    }


def _commit() -> str:
    """The version under test: the commit, with a mark when files were changed since."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"

"""TCP sockets as the settings want them, and Unix sockets: their paths, their files, who is at the other end.

Called by the listener and by what opens database connections. It knows no protocol.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import math
import os
import socket
import stat
import struct
from typing import Final

import trio

from rdsp.config.model import Tcp

_PEER: Final = struct.Struct("3i")  # struct ucred of unix(7): process, user, group
_RETRY: Final = 0.02


def tune(sock: socket.SocketType, settings: Tcp) -> None:
    """Set what a TCP connection of ours has (tcp(7)). Unix sockets are left alone. Raises `OSError`."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if settings.tcp_user_timeout:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(settings.tcp_user_timeout * 1000)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(settings.keepalives))
    if settings.keepalives:
        for option, value in (
            (socket.TCP_KEEPIDLE, settings.keepalives_idle),
            (socket.TCP_KEEPINTVL, settings.keepalives_interval),
            (socket.TCP_KEEPCNT, settings.keepalives_count),
        ):
            if value:
                sock.setsockopt(socket.IPPROTO_TCP, option, math.ceil(value))


def tune_anew(sock: socket.SocketType, settings: Tcp) -> None:
    """As `tune`, whatever was set before. What a listening socket has, its connections begin with. Raises `OSError`."""
    if sock.family == socket.AF_UNIX:
        return
    with socket.socket(sock.family, socket.SOCK_STREAM) as fresh:
        for option in (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
            sock.setsockopt(socket.IPPROTO_TCP, option, fresh.getsockopt(socket.IPPROTO_TCP, option))
    tune(sock, settings)


def unix_address(path: str) -> str:
    """What the kernel wants for a path; "@" in front is the abstract name space (unix(7))."""
    return "\0" + path[1:] if path.startswith("@") else path


async def connect_unix(path: str) -> socket.socket:
    """Connect to a Unix socket. Raises `OSError` that names the path. Cancellation closes what was begun."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(unix_address(path))
            except BlockingIOError:
                # The server's queue is full. There is nothing to wait on: such a connect never is in progress.
                await trio.sleep(_RETRY)
            except OSError as error:
                raise OSError(error.errno, f"{path}: {error.strerror}") from error
            else:
                await trio.lowlevel.checkpoint()
                return sock
    except BaseException:
        sock.close()
        raise


def unix_peer(sock: socket.SocketType) -> str:
    """Who is at the other end of a Unix socket, for logs."""
    process, user, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return f"unix (process {process}, user {user})"


class UnixListener:
    """A listening Unix socket, and its file.

    Invariant: while it is open its lock file (the path with ".lock") is locked by this process, so that no other rdsp
    takes the path; `close` removes only a file that is still this socket's. An abstract socket has no files.

    Args:
        path: "@" in front for an abstract socket.
        permissions: of the file, set before anybody can connect.
        group: name or number of the file's group; None: the process's own.
        backlog: of listen(2).

    Raises `OSError` that names the path. A file that a dead process left behind is replaced; one that answers, or that
    is no socket, is not.
    """

    def __init__(self, path: str, permissions: int, group: str | None, backlog: int) -> None:
        self.path = path
        self._file: tuple[int, int] | None = None
        self._lock: int | None = None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if not path.startswith("@"):
                self._lock = _lock(f"{path}.lock")
                _remove_stale(path)
            self.socket.bind(unix_address(path))
            if self._lock is not None:
                status = os.lstat(path)
                self._file = status.st_dev, status.st_ino
                if group:
                    os.chown(path, -1, _group_number(group))
                os.chmod(path, permissions)
            self.socket.listen(backlog)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise OSError(error.errno, f"cannot listen on {path}: {error.strerror or error}") from error
            raise

    def close(self) -> None:
        """Stop listening and remove the files. Any number of times."""
        self.socket.close()
        mine, self._file = self._file, None
        if mine is not None:
            with contextlib.suppress(OSError):
                status = os.lstat(self.path)
                if (status.st_dev, status.st_ino) == mine:
                    os.unlink(self.path)
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path}.lock")
            os.close(lock)


def _group_number(group: str) -> int:
    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise OSError(errno.EINVAL, f'there is no group "{group}"') from None


def _lock(path: str) -> int:
    """Lock a file, made if need be, and write our process id into it, where PostgreSQL looks for it.

    Raises `OSError` when another process has it.
    """
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(errno.EADDRINUSE, f"another proxy has locked {path}") from None
            try:
                found = os.stat(path)
            except FileNotFoundError:
                found = None
            mine = os.fstat(lock)
            if found is not None and (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
                os.ftruncate(lock, 0)
                os.pwrite(lock, b"%d\n" % os.getpid(), 0)
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # its owner removed it between our two looks: what we locked is nobody's any more


def _remove_stale(path: str) -> None:
    """Remove a socket's file behind which nobody listens. Raises `OSError` for one that must stay."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # its queue is full: somebody listens
    raise OSError(errno.EADDRINUSE, "another process answers there")

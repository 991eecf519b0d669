"""How each pooler is started: PgBouncer as the distribution packages it, the newest one, and the proxy in two ways.

`benchmarks.stage` calls it. Every pooler has its files in a folder of its own below the stage's.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parent.parent
BIN = Path("/usr/lib/postgresql/15/bin")
UNSTABLE = ROOT / "build" / "unstable" / "pgbouncer"
COMPILED = ROOT / "build" / "compiled"
USER, PASSWORD, DATABASE = "bench", "bench-password", "postgres"
BACKENDS = 20
CLIENTS = 6000
"""The most clients of a pooler."""
_STATEMENTS = 200


class NotInstalled(Exception):
    """Something to measure with, or against, is missing. The text says what to do."""


@attrs.define(eq=False)
class Target:
    """Something to connect to.

    Attributes:
        pid: the process whose CPU and memory are counted, 0 for none.
        prepared: prepared statements of the protocol work in transaction mode.
    """

    name: str
    port: int
    pid: int
    version: str
    prepared: bool = True


@attrs.frozen
class Place:
    """What a pooler needs to know. Attributes: secret: the user's SCRAM secret, as the server stores it."""

    folder: Path
    server_port: int
    secret: str
    tls: tuple[bytes, bytes]

    def sub(self, name: str, port: int) -> Path:
        """A folder for one pooler."""
        folder = self.folder / f"{name}-{port}"
        folder.mkdir()
        folder.chmod(0o755)
        return folder


Started = tuple[subprocess.Popen[bytes], str, bool]
"""The process, its version, and `Target.prepared`."""


def _debian(place: Place, name: str, port: int) -> Started:
    binary = shutil.which("pgbouncer", path="/usr/sbin:" + os.environ.get("PATH", ""))
    if binary is None:
        raise NotInstalled("it is not installed: apt-get install pgbouncer")
    return _pgbouncer(place, place.sub(name, port), port, [binary])


def _newest(place: Place, name: str, port: int) -> Started:
    """Of Debian unstable, with that one's own C library and all other libraries, copied to where its user can read."""
    folder = place.sub(name, port)
    return _pgbouncer(place, folder, port, unstable_pgbouncer(folder))


def unstable_pgbouncer(folder: Path) -> list[str]:
    """The command that runs Debian unstable's, copied to `folder` with all that it needs. Raises `NotInstalled`."""
    program = UNSTABLE / "usr/sbin/pgbouncer"
    loader = next(iter((UNSTABLE / "usr/lib").glob("*/ld-linux-*.so.*")), None)
    if loader is None or not program.exists():
        raise NotInstalled("it could not be had from Debian unstable (scripts/unstable says why)")
    listed = subprocess.run(
        [loader, "--library-path", loader.parent, "--list", program], capture_output=True, text=True, check=True
    )
    needed = [Path(path) for path in re.findall(r"=> (\S+)", listed.stdout)]
    for path in {loader, program, *needed}:
        shutil.copy(path, folder / path.name)
        (folder / path.name).chmod(0o755)
    return [str(folder / loader.name), "--library-path", str(folder), str(folder / program.name)]


def _pgbouncer(place: Place, folder: Path, port: int, command: list[str]) -> Started:
    version = first_line([*command, "--version"])
    # Named statements of the protocol in transaction mode came with 1.21.
    prepared = [int(part) for part in re.findall(r"\d+", version)[:2]] >= [1, 21]
    for name, data in zip(("tls.crt", "tls.key"), place.tls, strict=True):
        _own(folder / name, data)
    users = _own(folder / "users.txt", f'"{USER}" "{place.secret}"\n'.encode())
    config = _own(
        folder / "pgbouncer.ini",
        (
            f"[databases]\n* = host=127.0.0.1 port={place.server_port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            f"pool_mode = transaction\ndefault_pool_size = {BACKENDS}\nmax_client_conn = {CLIENTS}\n"
            "log_connections = 0\nlog_disconnections = 0\nlog_pooler_errors = 0\nlog_stats = 0\n"
            f"client_tls_sslmode = allow\nclient_tls_key_file = {folder}/tls.key\n"
            f"client_tls_cert_file = {folder}/tls.crt\nserver_tls_sslmode = disable\n"
            + (f"max_prepared_statements = {_STATEMENTS}\n" if prepared else "")
        ).encode(),
    )
    process = subprocess.Popen(
        [*command, "-q", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **_identity()
    )
    return process, version, prepared


def _compiled(place: Place, name: str, port: int) -> Started:
    return _rdsp(place, name, port, compiled_environment())


def _python(place: Place, name: str, port: int) -> Started:
    return _rdsp(place, name, port, {**os.environ, "RDSP_SCANNER": "python"})


def compiled_environment() -> dict[str, str]:
    """The variables with which the compiled modules run. Raises `NotInstalled`."""
    if not (COMPILED / "rdsp_compiled" / "sources.txt").exists():
        raise NotInstalled("it is not compiled: make compiled says why")
    paths = [str(COMPILED), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "RDSP_SCANNER": "compiled", "PYTHONPATH": os.pathsep.join(paths)}


def _rdsp(place: Place, name: str, port: int, environment: dict[str, str]) -> Started:
    url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{place.server_port}/{DATABASE}"
    config = rdsp_config(place.sub(name, port), port, url, place.tls)
    process = subprocess.Popen(
        [sys.executable, "-m", "rdsp", "run", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
        env=environment,
    )
    said = first_line([sys.executable, "-m", "rdsp", "--version"], environment)
    return process, f"{said} on Python {sys.version.split()[0]}", True


def rdsp_config(folder: Path, port: int, url: str, tls: tuple[bytes, bytes]) -> Path:
    """The proxy's configuration for this target, with all that it names, in a folder."""
    certificate, key = folder / "proxy.crt", folder / "proxy.key"
    certificate.write_bytes(tls[0])
    key.touch(0o600)
    key.write_bytes(tls[1])
    config = folder / "rdsp.toml"
    config.touch(0o600)
    config.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:{port}"\n[proxies.limits]\nmax_client_connections = {CLIENTS}\n'
        f'[proxies.tls]\ncertificate = "{certificate}"\nprivate_key = "{key}"\n'
        f'[proxies.target]\nurl = "{url}"\n'
        f'tls = "disable"\n[proxies.target_group]\nmax_backends = {BACKENDS}\n'
        f"max_prepared_statements = {_STATEMENTS}\n"
        '[logging]\nlevel = "warning"\n'
    )
    return config


KINDS: dict[str, Callable[[Place, str, int], Started]] = {
    "pgbouncer": _debian,
    "pgbouncer-new": _newest,
    "rdsp": _compiled,
    "rdsp-python": _python,
}
HEADINGS = {
    "direct": "direct",
    "pgbouncer": "PgBouncer (Debian)",
    "pgbouncer-new": "PgBouncer (newest)",
    "rdsp": "rdsp",
    "rdsp-python": "rdsp, not compiled",
}
OURS = ("rdsp", "rdsp-python")
PEERS = ("pgbouncer", "pgbouncer-new")


def first_line(command: list[str], environment: dict[str, str] | None = None) -> str:
    """The first line that a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return (done.stdout or done.stderr).splitlines()[0].strip()


def _own(path: Path, data: bytes) -> Path:
    """A file that PgBouncer's user alone can read."""
    path.touch(0o600)
    path.write_bytes(data)
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(path, account.pw_uid, account.pw_gid)
    return path


def _identity() -> dict[str, Any]:
    """PgBouncer refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

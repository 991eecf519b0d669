"""How MySQL Router and the proxy are started in front of a MySQL server. `benchmarks.mysql.stage` calls it.

Router is Debian unstable's, run beside the machine's own packages with its own C library.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs

from benchmarks.mysql.cells import Load, Work
from benchmarks.targets import BACKENDS, ROOT, NotInstalled, compiled_environment, first_line, rdsp_config

UNSTABLE = ROOT / "build" / "unstable"
SERVER = UNSTABLE / "mysql"
_ROUTER = UNSTABLE / "mysql-router"
USER, PASSWORD, DATABASE = "bench", "bench-password", "bench"
_IDLE = 100
"""Server connections that a Router keeps in its pool: more than there are clients."""

HEADINGS = {
    "direct": "direct",
    "router": "Router, sharing",
    "router-few": f"Router, sharing {BACKENDS}",
    "router-through": "Router, pass-through",
    "rdsp": "rdsp",
    "rdsp-python": "rdsp, not compiled",
}
SHARING = ("router", "router-few")
THROUGH = ("router-through",)
LIMITED = {"router-few": BACKENDS}
"""Router has no limit of its own for server connections: with these targets the server lets in no more."""


def able(name: str, work: Work) -> bool:
    """Whether a target can do this at all: Router does not share the connection of who has prepared statements."""
    if not isinstance(work, Load) or not work.prepared or name not in LIMITED:
        return True
    return work.threads <= LIMITED[name]


@attrs.frozen
class Place:
    """What a target needs to know. Attributes: folder: of its own. tls: certificate and key for clients, PEM."""

    folder: Path
    port: int
    server_port: int
    tls: tuple[bytes, bytes]


Started = tuple[subprocess.Popen[bytes], str]
"""The process and its version."""


def _command() -> list[str]:
    program = _ROUTER / "usr/bin/mysqlrouter"
    loader = next(iter((_ROUTER / "usr/lib").glob("*/ld-linux-*.so.*")), None)
    if loader is None or not program.exists():
        raise NotInstalled("it could not be had from Debian unstable (scripts/unstable says why)")
    return [str(loader), "--library-path", f"{loader.parent}:{_ROUTER}/usr/lib/mysql-router", str(program)]


def _sharing(place: Place) -> Started:
    """With a delay of 0: otherwise a connection is not shared before its client has been idle for a second."""
    certificate, key = place.folder / "router.crt", place.folder / "router.key"
    certificate.write_bytes(place.tls[0])
    key.touch(0o600)
    key.write_bytes(place.tls[1])
    return _router(
        place,
        f"client_ssl_mode = PREFERRED\nclient_ssl_cert = {certificate}\nclient_ssl_key = {key}\n"
        "server_ssl_mode = DISABLED\nconnection_sharing = 1\nconnection_sharing_delay = 0\n",
    )


def _through(place: Place) -> Started:
    return _router(place, "client_ssl_mode = PASSTHROUGH\nserver_ssl_mode = AS_CLIENT\n")


def _router(place: Place, options: str) -> Started:
    command = _command()
    for name in ("log", "run", "data"):
        (place.folder / name).mkdir()
    config = place.folder / "router.conf"
    config.write_text(
        f"[DEFAULT]\nplugin_folder = {_ROUTER}/usr/lib/mysqlrouter/plugin\nlogging_folder = {place.folder}/log\n"
        f"runtime_folder = {place.folder}/run\ndata_folder = {place.folder}/data\n"
        f"[logger]\nlevel = WARNING\n[connection_pool]\nmax_idle_server_connections = {_IDLE}\n"
        f"[routing:bench]\nbind_address = 127.0.0.1\nbind_port = {place.port}\n"
        f"destinations = 127.0.0.1:{place.server_port}\nrouting_strategy = first-available\n"
        f"protocol = classic\n{options}"
    )
    version = first_line([*command, "--version"])
    return _start(place, [*command, "-c", str(config)], None), version


def _compiled(place: Place) -> Started:
    return _rdsp(place, compiled_environment())


def _python(place: Place) -> Started:
    return _rdsp(place, {**os.environ, "RDSP_SCANNER": "python"})


def _rdsp(place: Place, environment: dict[str, str]) -> Started:
    url = f"mysql://{USER}:{PASSWORD}@127.0.0.1:{place.server_port}/{DATABASE}"
    config = rdsp_config(place.folder, place.port, url, place.tls)
    rdsp = [sys.executable, "-m", "rdsp"]
    checked = subprocess.run(
        [*rdsp, "check", str(config)], capture_output=True, text=True, check=False, env=environment
    )
    said = checked.stdout + checked.stderr
    if checked.returncode and "no installed engine" in said:
        raise NotInstalled("it has no engine for MySQL yet")
    version = f"{first_line([*rdsp, '--version'], environment)} on Python {sys.version.split()[0]}"
    return _start(place, [*rdsp, "run", str(config)], environment), version


def _start(place: Place, command: list[str], environment: dict[str, str] | None) -> subprocess.Popen[bytes]:
    """What it says goes to the file `said`."""
    with (place.folder / "said").open("wb") as said:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=place.folder, env=environment
        )


KINDS: dict[str, Callable[[Place], Started]] = {
    "router": _sharing,
    "router-few": _sharing,
    "router-through": _through,
    "rdsp": _compiled,
    "rdsp-python": _python,
}

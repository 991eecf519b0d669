"""Engines that can be found and can do nothing: what the configuration and the command line need of one."""

from __future__ import annotations

from typing import Any

import attrs

from rdsp_codecs.api import API_VERSION, Features

PLAIN = Features(cancel_on_new_connection=False)


@attrs.frozen
class ToyEngine:
    """Has every member that a `Codec` must have. None of its conversations can be held."""

    name: str
    engine_family: str
    schemes: tuple[str, ...]
    default_port: int
    features: Features = PLAIN
    api: int = API_VERSION

    def _cannot(self, *_: Any) -> Any:
        raise NotImplementedError

    greet = login = startup = pool_key = shared = relay = reset = probe = prepare = max_connections = is_writable = (
        _cannot
    )
    cancel = refuse = goodbye = ear = _cannot


POSTGRES = ToyEngine(
    "postgres",
    "POSTGRESQL",
    ("postgres", "postgresql"),
    5432,
    Features(True, (), ("scram-sha-256", "md5"), socket_file=".s.PGSQL.{}"),
)
MYSQL = ToyEngine(
    "mysql",
    "MYSQL",
    ("mysql",),
    3306,
    Features(False, ("EXCLUDE_VARIABLE_SETS",), lacks=("target.channel_binding", "target_group.pin_sequences")),
)
MARIADB = ToyEngine("mariadb", "MYSQL", ("mariadb",), 3306, Features(False, ("EXCLUDE_VARIABLE_SETS",)))
TOY = ToyEngine("toy", "TOYS", ("toy",), 7777)
OF_ANOTHER_API = ToyEngine("another", "TOYS", ("another",), 1, api=API_VERSION + 1)
GREEDY = ToyEngine("p", "POSTGRESQL", ("postgres", "postgresql"), 1)
NUMBERED = ToyEngine("numbered", "TOYS", (1, "x"), 1)  # type: ignore[arg-type]
MISNAMED = ToyEngine("other-name", "TOYS", ("x",), 1)


class Unfinished:
    """Lacks nearly everything."""

    name = "unfinished"
    api = API_VERSION
    default_port = "5432"


UNFINISHED = Unfinished()
NUMBERLESS = object()


class Prickly(Unfinished):
    """Fails when it is looked at."""

    @property
    def greet(self) -> object:
        raise RuntimeError("not now,\n  later")


PRICKLY = Prickly()

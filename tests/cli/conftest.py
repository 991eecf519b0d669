"""A configuration file, and an engine that is installed as a third party's would be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TOYS = Path(__file__).parent.parent / "config"

Install = Callable[..., None]

GOOD = """
[[proxies]]
name = "shop"
listen = "127.0.0.1:6432"
target.url = "toy://app:hunter2@db.example/shop"
target_group.max_backends = 20
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put engines of `toy_engines` on the path, with the metadata that an installed distribution has."""

    def do(**engines: str) -> None:
        info = tmp_path / "path" / "toy_database-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-database\nVersion: 1.2\n")
        lines = [f"{name} = toy_engines:{where}" for name, where in engines.items()]
        (info / "entry_points.txt").write_text("\n".join(["[rdsp.codecs]", *lines, ""]))
        monkeypatch.syspath_prepend(TOYS)
        monkeypatch.syspath_prepend(info.parent)

    return do


@pytest.fixture
def good_file(tmp_path: Path, install: Install) -> Path:
    """A configuration without faults, for the toy engine."""
    install(toy="TOY")
    path = tmp_path / "rdsp.toml"
    path.write_text(GOOD)
    return path

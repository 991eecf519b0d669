"""Engines and the shortest way from a text to a configuration or its faults."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rdsp.config.load import loads
from rdsp.config.model import Config
from rdsp.errors import ConfigError
from rdsp_codecs.registry import GROUP, Registry

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

Entries = Callable[..., Registry]
Load = Callable[..., Config]
Faults = Callable[..., list[str]]


@pytest.fixture
def registry_of() -> Entries:
    """A registry with the given attributes of `toy_engines`, by entry point name."""

    def make(**engines: str) -> Registry:
        entries = [EntryPoint(name, f"toy_engines:{where}", GROUP) for name, where in engines.items()]
        return Registry(lambda: entries)

    return make


@pytest.fixture
def engines(registry_of: Entries) -> Registry:
    return registry_of(postgres="POSTGRES", mysql="MYSQL", mariadb="MARIADB")


@pytest.fixture
def read(engines: Registry) -> Load:
    """A configuration from a text; no environment unless given."""

    def do(text: str, environ: Mapping[str, str] | None = None) -> Config:
        return loads(text, environ=environ or {}, codecs=engines)

    return do


@pytest.fixture
def faults_of(read: Load) -> Faults:
    """The lines that a bad text is refused with; it is a failure when it is not refused."""

    def do(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(text, environ)
        return [str(fault) for fault in caught.value.faults]

    return do

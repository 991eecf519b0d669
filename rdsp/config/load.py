"""TOML to a `Config`, with every fault found and not only the first.

Called by the command line and on reload. `loads` is pure (environment and engines come in as arguments); `load` reads
one file and looks whether the files it names are there. Raises `ConfigError` and nothing else for a bad configuration.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from rdsp.config import rules
from rdsp.config.hints import unknown_key
from rdsp.config.kinds import FilePath, quote
from rdsp.config.model import Config, Proxy, Secret, Target, default_of, settings, tables
from rdsp.config.units import BadValue
from rdsp.config.urls import parse_url
from rdsp.errors import ConfigError, Fault
from rdsp_codecs.api import Codec
from rdsp_codecs.errors import PluginError
from rdsp_codecs.registry import REGISTRY, Registry

_PLACE: Final = re.compile(r"(.*) \(at (line \d+, column \d+|end of document)\)", re.DOTALL)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)


def load(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None, codecs: Registry = REGISTRY
) -> Config:
    """Read a file. Relative paths in it start at its folder.

    Args:
        path: of the TOML file.
        environ: for `${NAME}` in secrets; None: the process's own.
        codecs: the installed engines.

    Raises `ConfigError` with all faults.
    """
    source = os.fspath(path)
    try:
        text = Path(source).read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError([Fault("", f"cannot be read: {error.strerror}")], source=source) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Fault("", f"is not UTF-8 text (byte {error.start})")], source=source) from None
    config = loads(text, environ=environ, codecs=codecs, source=source, folder=Path(source).parent)
    missing = list(rules.files(config))
    if missing:
        raise ConfigError(missing, source=source)
    return config


def loads(
    text: str,
    *,
    environ: Mapping[str, str] | None = None,
    codecs: Registry = REGISTRY,
    source: str = "",
    folder: Path | None = None,
) -> Config:
    """Read a text.

    Args:
        text: TOML.
        environ, codecs: as for `load`.
        source: the file's name, for `ConfigError.source`.
        folder: where relative paths start; None: they stay as they are.

    Raises `ConfigError` with all faults.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _PLACE.fullmatch(str(error))
        place, what = (found[2], found[1]) if found else ("", str(error))
        raise ConfigError([Fault(place, f"not TOML: {what}")], source=source) from None
    except RecursionError:
        raise ConfigError([Fault("", "is nested too deeply")], source=source) from None
    reader = _Reader(os.environ if environ is None else environ, codecs, folder)
    config = reader.config(raw)
    if reader.faults:
        raise ConfigError(reader.faults, source=source)
    return config


def from_target(
    url: str,
    listen: str | Sequence[str],
    max_backends: int | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    codecs: Registry = REGISTRY,
) -> Config:
    """The configuration of `rdsp run --target`: one proxy, all else by default.

    Args:
        url: of the database; its scheme says which engine.
        listen: address or addresses.
        max_backends: the most database connections; None: as many as the server allows.

    Raises `ConfigError` whose paths are the options of the command line.
    """
    reader = _Reader(os.environ if environ is None else environ, codecs, None)
    raw: dict[str, Any] = {"listen": listen if isinstance(listen, str) else list(listen), "target": {"url": url}}
    if max_backends is not None:
        raw["target_group"] = {"max_backends": max_backends}
    config = reader.config({"proxies": [raw]})
    if reader.faults:
        options = {"target.url": "--target", "listen": "--listen", "target_group.max_backends": "--max-backends"}
        names = {f"proxies[0].{key}": option for key, option in options.items()}
        raise ConfigError(Fault(names.get(fault.path, fault.path), fault.text) for fault in reader.faults)
    return config


class _Reader:
    """One reading: collects `faults`, and goes on with the default where a value cannot be used."""

    def __init__(self, environ: Mapping[str, str], codecs: Registry, folder: Path | None) -> None:
        self.faults: list[Fault] = []
        self._environ = environ
        self._codecs = codecs
        self._folder = folder
        self._engines: dict[str, Codec] = {}
        self._schemes: dict[str, str] = {}  # by the path of the target

    def config(self, raw: Mapping[str, Any]) -> Config:
        """The whole file. Only to be used when there are no faults afterwards."""
        config: Config = self._table(Config, raw, "")
        faulty = {fault.path for fault in self.faults}
        for fault in rules.broken(config, self._engines):
            # What was wrong by itself stands at its default here: a rule about it would say nothing true.
            if not any(_inside(fault.path, path) or _inside(path, fault.path) for path in faulty):
                self.faults.append(fault)
        return config

    def _fault(self, path: str, text: str) -> None:
        self.faults.append(Fault(path, text))

    def _table(self, model: type[Any], raw: object, path: str) -> Any:
        if not isinstance(raw, Mapping):
            self._fault(path, f"expected a table, got {quote(raw)}")
            return model()
        plain, inner = settings(model), tables(model)
        values: dict[str, Any] = {}
        for key, value in raw.items():
            here = _join(path, key)
            if key in inner:
                values[key] = self._inner(inner[key].model, value, here, inner[key].many)
            elif key not in plain:
                self._fault(here, unknown_key(model, key))
            else:
                self._setting(plain[key].kind, value, here, values, key)
        if model is Target:
            self._apply_url(values, path)
        if model is Proxy:
            self._apply_engine(values, path)
        return model(**values)

    def _inner(self, model: type[Any], raw: object, path: str, many: bool) -> Any:
        if not many:
            return self._table(model, raw, path)
        if not isinstance(raw, list):
            self._fault(path, f"expected an array of tables ([[{path}]]), got {quote(raw)}")
            return ()
        return tuple(self._table(model, one, f"{path}[{number}]") for number, one in enumerate(raw))

    def _setting(self, kind: Any, raw: object, path: str, values: dict[str, Any], key: str) -> None:
        try:
            value = kind.parse(raw, self._environ)
        except BadValue as error:
            self._fault(path, str(error))
            return
        values[key] = self._complete(kind, value)

    def _apply_url(self, values: dict[str, Any], path: str) -> None:
        """Turn `url` into the settings that it stands for."""
        written: Secret | None = values.pop("url", None)
        if written is None:
            return
        try:
            url = parse_url(written.value, self._environ)
        except BadValue as error:
            self._fault(f"{path}.url", str(error))
            values.pop("password", None)  # whose user may be in the URL
            return
        self._schemes[path] = url.scheme
        for key, part in url.parts.items():
            if key in values:
                self._fault(f"{path}.{key}", "stands in url too; give it once")
            else:
                self._url_part(key, part, path, values)

    def _url_part(self, key: str, part: str | int, path: str, values: dict[str, Any]) -> None:
        kind = settings(Target)[key].kind
        try:
            if key == "password":
                values[key] = Secret(str(part))  # variables are in it already
                kind.check(values[key])
            else:
                values[key] = self._complete(kind, kind.parse(part, self._environ))
        except BadValue:
            # The error's own text shows the value, and a badly written URL may have a piece of the password there.
            self._fault(f"{path}.url", f"{key}: expected {kind.limits()}")

    def _apply_engine(self, values: dict[str, Any], path: str) -> None:
        """Find the engine by the first of `engine`, `engine_family` and the URL's scheme; the others must agree."""
        if "target" not in values:
            self._fault(f"{path}.target", "missing; give url, or host and what goes with it")
        name, family = values.get("engine"), values.pop("engine_family", None)
        scheme = self._schemes.get(f"{path}.target")
        where = "engine" if name or not (family or scheme) else "engine_family" if family else "target.url"
        try:
            if where == "engine":
                codec = self._codecs.find(name or default_of(Proxy, "engine"))
            elif where == "engine_family":
                codec = self._codecs.for_family(family)
            else:
                codec = self._codecs.for_scheme(scheme or "")
        except PluginError as error:
            if all(fault.path != f"{path}.{where}" for fault in self.faults):
                self._fault(f"{path}.{where}", str(error))
            return
        self._engines[codec.name] = codec
        values["engine"] = codec.name
        if family and codec.engine_family != family:
            self._fault(f"{path}.engine_family", f'the engine "{codec.name}" is of the family {codec.engine_family}')
        if scheme and scheme not in codec.schemes:
            schemes = ", ".join(codec.schemes)
            self._fault(
                f"{path}.target.url", f'the engine "{codec.name}" has the URL schemes {schemes}, not "{scheme}"'
            )
        target = values.get("target")
        if target is not None and target.port is None:
            values["target"] = attrs.evolve(target, port=codec.default_port)

    def _complete(self, kind: Any, value: Any) -> Any:
        return os.fspath(self._folder / value) if isinstance(kind, FilePath) and self._folder is not None else value


def _join(path: str, key: str) -> str:
    shown = key if _BARE_KEY.fullmatch(key) else json.dumps(key[:60], ensure_ascii=False)
    return f"{path}.{shown}" if path else shown


def _inside(path: str, other: str) -> bool:
    return path == other or path.startswith((f"{other}.", f"{other}["))

"""TOML to a `Config`, with every fault found and not only the first.

Called by the command line and on reload. `loads` is pure (environment and engines come in as arguments); `load` reads
one file and looks whether the files it names are there. Raises `ConfigError` and nothing else for a bad configuration.
cattrs goes through the tables; what each setting takes is its kind's affair.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any, Final, TypedDict, get_origin, get_type_hints

import attrs
from cattrs import AttributeValidationNote, BaseValidationError, Converter, ForbiddenExtraKeysError, override
from cattrs.gen.typeddicts import make_dict_structure_fn

from rdsp.config import rules
from rdsp.config.hints import unknown_key
from rdsp.config.kinds import FilePath, HiddenUrl, Kind, quote
from rdsp.config.model import WRITTEN_ONLY, Config, Proxy, Secret, Target, default_of, settings, tables
from rdsp.config.units import BadValue
from rdsp.config.urls import TargetUrl, parse_url
from rdsp.errors import ConfigError, Fault
from rdsp_codecs.api import Codec
from rdsp_codecs.errors import PluginError
from rdsp_codecs.registry import REGISTRY, Registry

_PLACE: Final = re.compile(r"(.*) \(at (line \d+, column \d+|end of document)\)", re.DOTALL)
_URL_PASSWORD: Final = re.compile(r"//.*@", re.DOTALL)
"""In a fault's text: the value shown may be a URL that stands in the wrong place."""
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
        self._converter = Converter(detailed_validation=True)
        self._converter.register_structure_hook_factory(attrs.has, self._table)

    def config(self, raw: dict[str, Any]) -> Config:
        """The whole file; takes what is faulty out of `raw`. Only to be used when there are no faults afterwards."""
        try:
            read: Any = self._converter.structure(raw, Config)
        except BaseValidationError as error:
            self._tell(error, Config, raw, "")
            read = self._converter.structure(raw, Config)  # cattrs gives nothing at all where there is a fault
        config: Config = attrs.evolve(read, proxies=tuple(starmap(self._proxy, enumerate(read.proxies))))
        faulty = {fault.path for fault in self.faults}
        for fault in rules.broken(config, self._engines):
            # What was wrong by itself stands at its default here: a rule about it would say nothing true.
            if not any(_inside(fault.path, path) or _inside(path, fault.path) for path in faulty):
                self.faults.append(fault)
        return config

    def _fault(self, path: str, text: str) -> None:
        self.faults.append(Fault(path, _URL_PASSWORD.sub("//***@", text)))

    def _told(self, path: str) -> bool:
        return any(fault.path == path for fault in self.faults)

    def _table(self, model: type[Any]) -> Callable[[object, object], Any]:
        """The hook for one table: to its model, or to the values by key where they are to be completed."""
        plain, inner, hints = settings(model), tables(model), get_type_hints(model)
        # Not the model: that one has no place for keys that are only written, nor for whether a key was given.
        types = dict.fromkeys(plain, Any) | {key: hints[key] for key in inner}
        form: Any = TypedDict(model.__name__, types, total=False)  # type: ignore[misc]
        given: dict[str, Any] = {key: partial(self._value, about.kind) for key, about in plain.items()}
        given |= {key: self._array for key, table in inner.items() if table.many}
        hooks: Any = {key: override(struct_hook=hook) for key, hook in given.items()}
        fill = make_dict_structure_fn(form, self._converter, _cattrs_forbid_extra_keys=True, **hooks)

        def structure(raw: object, _: object) -> Any:
            if not isinstance(raw, dict):
                raise BadValue(f"expected a table, got {quote(raw)}")
            values = fill(raw, form)
            return values if model in WRITTEN_ONLY else model(**values)

        return structure

    def _array(self, raw: object, kind: Any) -> Any:
        if not isinstance(raw, list):  # cattrs takes a text and a table, too
            raise BadValue(quote(raw))
        return self._converter.structure(raw, kind)

    def _value(self, kind: Kind, raw: object, _: object = None) -> Any:
        value = kind.parse(raw, self._environ)
        if isinstance(kind, HiddenUrl):
            return parse_url(value.value, self._environ)
        return os.fspath(self._folder / value) if isinstance(kind, FilePath) and self._folder is not None else value

    def _tell(self, error: BaseValidationError, model: Any, raw: Any, path: str) -> None:
        """Tell the faults of a table or of an array of them, and take what is faulty out of it."""
        for fault in error.exceptions:
            if isinstance(fault, ForbiddenExtraKeysError):
                for key in [key for key in raw if key in fault.extra_fields]:
                    self._fault(_join(path, key), unknown_key(model, key))
                    del raw[key]
                continue
            note: Any = fault.__notes__[-1]
            key = note.name if isinstance(note, AttributeValidationNote) else note.index
            here = _join(path, key)
            if isinstance(fault, BaseValidationError):
                self._tell(fault, note.type, raw[key], here)
                continue
            if not isinstance(fault, BadValue):
                raise fault
            array = f"expected an array of tables ([[{here}]]), got " if get_origin(note.type) is tuple else ""
            self._fault(here, f"{array}{fault}")
            if key == "url" and raw[key] and isinstance(raw[key], str):
                raw.pop("password", None)  # whose user may be in the URL
            if attrs.has(note.type):
                raw[key] = {}
            else:
                raw.pop(key, None)  # a password may be gone already

    def _proxy(self, number: int, values: dict[str, Any]) -> Proxy:
        path = f"proxies[{number}]"
        if self._told(path):  # not a table
            return Proxy()
        target = values.get("target", {})
        scheme = self._apply_url(target, f"{path}.target")
        self._apply_engine(values, scheme, path)
        return Proxy(**{**values, "target": Target(**target)})

    def _apply_url(self, values: dict[str, Any], path: str) -> str:
        """Turn `url` into the settings that it stands for. Gives its scheme, or ""."""
        url: TargetUrl | None = values.pop("url", None)
        if url is None:
            return ""
        for key, part in url.parts.items():
            if key in values:
                self._fault(f"{path}.{key}", "stands in url too; give it once")
                continue
            kind = settings(Target)[key].kind
            try:
                # A password has its variables in it already.
                value = Secret(str(part)) if key == "password" else self._value(kind, part)
                kind.check(value)
            except BadValue:
                # The error's own text shows the value, and a badly written URL may have a piece of the password there.
                self._fault(f"{path}.url", f"{key}: expected {kind.limits()}")
            else:
                values[key] = value
        return url.scheme

    def _apply_engine(self, values: dict[str, Any], scheme: str, path: str) -> None:
        """Find the engine by the first of `engine`, `engine_family` and the URL's scheme; the others must agree."""
        if "target" not in values:
            self._fault(f"{path}.target", "missing; give url, or host and what goes with it")
        name, family = values.get("engine"), values.pop("engine_family", None)
        where = "engine" if name or not (family or scheme) else "engine_family" if family else "target.url"
        try:
            if where == "engine":
                codec = self._codecs.find(name or default_of(Proxy, "engine"))
            elif where == "engine_family":
                codec = self._codecs.for_family(family)
            else:
                codec = self._codecs.for_scheme(scheme)
        except PluginError as error:
            if not self._told(f"{path}.{where}"):
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
        values.get("target", {}).setdefault("port", codec.default_port)


def _join(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    shown = key if _BARE_KEY.fullmatch(key) else json.dumps(key[:60], ensure_ascii=False)
    return f"{path}.{shown}" if path else shown


def _inside(path: str, other: str) -> bool:
    return path == other or path.startswith((f"{other}.", f"{other}["))

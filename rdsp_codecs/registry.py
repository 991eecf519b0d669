"""Find an engine by name, by URL scheme or by RDS family, among the entry points of the group `rdsp.codecs`.

Called by the configuration and the application. The only place that imports an engine, and only when it is asked for:
nothing is registered as a side effect of an import. Every way in which an engine may fail to load is a `PluginError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

import attrs

from rdsp_codecs.api import API_VERSION, Codec, Features
from rdsp_codecs.errors import PluginError

GROUP: Final = "rdsp.codecs"
_OURS: Final = "rdsp_codecs."
_CALLABLE: Final = tuple(name for name, member in vars(Codec).items() if name[0] != "_" and callable(member))
_PLAIN: Final[dict[str, type]] = {
    "name": str,
    "engine_family": str,
    "schemes": tuple,
    "default_port": int,
    "features": Features,
}


@attrs.frozen
class Installed:
    """One engine, or an entry point that names none that can be used.

    Attributes:
        name: of the engine.
        where: `module:attribute`; where several have the name, each of them.
        distribution, version: of the package that brought it; "" where its metadata does not say.
        built_in: it is one of ours.
        codec: None when it cannot be used;
        trouble: then says why, in one line.
    """

    name: str
    where: str
    distribution: str
    version: str
    built_in: bool
    codec: Codec | None
    trouble: str = ""


def _entries() -> Iterable[EntryPoint]:
    return entry_points(group=GROUP)


@attrs.frozen
class Registry:
    """The engines that `entries` gives. Looked up anew at each call; a loaded module stays loaded, as ever."""

    entries: Callable[[], Iterable[EntryPoint]] = _entries

    def find(self, name: str) -> Codec:
        """The engine of that name. Raises `PluginError`: not installed (with the nearest name), or not usable."""
        known = self._by_name()
        if name not in known:
            raise PluginError(_unknown("engine", name, known))
        return _load(_only(known[name]))

    def for_scheme(self, scheme: str) -> Codec:
        """The engine for a URL's scheme, in any case of letters. Raises `PluginError`."""
        wanted = scheme.lower()
        return self._first(lambda codec: wanted in codec.schemes, "URL scheme", scheme, lambda codec: codec.schemes)

    def for_family(self, family: str) -> Codec:
        """The engine for RDS Proxy's `EngineFamily`. Raises `PluginError`.

        Where several share a family, ours, then the one with whose name the family's begins (MYSQL: mysql, not
        mariadb).
        """
        return self._first(
            lambda codec: codec.engine_family == family, "engine family", family, lambda codec: (codec.engine_family,)
        )

    def installed(self) -> list[Installed]:
        """All of them, usable or not, by name. A broken one has its trouble, and harms no other."""
        found: list[Installed] = []
        for name, entries in sorted(self._by_name().items()):
            where, built_in = " and ".join(entry.value for entry in entries), any(map(_is_ours, entries))
            distribution, version = _origin(entries[0])
            codec, trouble = None, ""
            try:
                codec = _load(_only(entries))
            except PluginError as error:
                trouble = str(error)
            found.append(Installed(name, where, distribution, version, built_in, codec, trouble))
            if codec is not None:
                found += [_kept_out(entry) for entry in entries if entry is not _only(entries)]
        return found

    def _by_name(self) -> dict[str, list[EntryPoint]]:
        """Ours first. The same distribution may be seen twice (installed, and its source folder on the path)."""
        known: dict[str, list[EntryPoint]] = {}
        for entry in sorted(self.entries(), key=lambda one: (not _is_ours(one), one.name, one.value)):
            alike = known.setdefault(entry.name, [])
            if all(entry.value != other.value for other in alike):
                alike.append(entry)
        return known

    def _first(
        self,
        fits: Callable[[Codec], bool],
        noun: str,
        wanted: str,
        words: Callable[[Codec], Iterable[str]],
    ) -> Codec:
        everything = self.installed()
        usable = [one.codec for one in everything if one.codec is not None]
        fitting = [(not one.built_in, one.codec) for one in everything if one.codec is not None and fits(one.codec)]
        if fitting:
            # What is built in stays what it is, whatever is installed besides.
            return min(fitting, key=lambda one: (one[0], not wanted.lower().startswith(one[1].name), one[1].name))[1]
        text = _unknown(noun, wanted, sorted({word for codec in usable for word in words(codec)}))
        broken = "; ".join(one.trouble for one in everything if one.trouble)
        raise PluginError(f"{text}; {broken}" if broken else text)


def _unknown(noun: str, wanted: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(wanted.lower(), names, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    lacking = (
        f'no engine "{wanted}" is installed' if noun == "engine" else f'no installed engine has the {noun} "{wanted}"'
    )
    return f"{lacking} (there are: {', '.join(names) or 'none'}){hint}"


def _is_ours(entry: EntryPoint) -> bool:
    return entry.value.startswith(_OURS)


def _origin(entry: EntryPoint) -> tuple[str, str]:
    """Distribution and version. What is broken there says nothing about the engine."""
    try:
        return (entry.dist.name or "", entry.dist.version or "") if entry.dist is not None else ("", "")
    except Exception:  # noqa: BLE001 - metadata of a stranger's: without a name, unreadable, not there any more
        return "", ""


def _shown(entry: EntryPoint) -> str:
    distribution, version = _origin(entry)
    return f"{entry.value} of {distribution} {version}" if distribution else entry.value


def _only(entries: list[EntryPoint]) -> EntryPoint:
    """The one that a name stands for: ours where it is one of ours. Raises `PluginError` where two others claim it."""
    if len(entries) > 1 and not _is_ours(entries[0]):
        raise PluginError(f'two engines are called "{entries[0].name}": {" and ".join(map(_shown, entries))}')
    return entries[0]


def _kept_out(entry: EntryPoint) -> Installed:
    """One with a name of ours."""
    trouble = f'two engines are called "{entry.name}": {_shown(entry)} is not used, for the other one is built in'
    return Installed(entry.name, entry.value, *_origin(entry), built_in=False, codec=None, trouble=trouble)


def _load(entry: EntryPoint) -> Codec:
    called = f'the engine "{entry.name}" ({entry.value})'
    try:
        codec: object = entry.load()
        # The API number first: of another version's engine it says nothing that a member is missing.
        api = getattr(codec, "api", None)
        lacking = [name for name in _CALLABLE if not callable(getattr(codec, name, None))]
        lacking += [name for name, kind in _PLAIN.items() if not isinstance(getattr(codec, name, None), kind)]
        if "schemes" not in lacking and not all(isinstance(scheme, str) for scheme in cast(Codec, codec).schemes):
            lacking.append("schemes")
    except (Exception, SystemExit) as error:  # a plug-in may fail in any way; whichever, it is the plug-in's
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(f"{called} cannot be loaded: {said}") from error
    if api is None:
        raise PluginError(f'{called} has no API number: it lacks the member "api"')
    if type(api) is not int or api != API_VERSION:
        raise PluginError(f"{called} is for API {api!r}, this is API {API_VERSION}")
    if lacking:
        raise PluginError(f"{called} lacks or has of a wrong type: {', '.join(sorted(lacking))}")
    good = cast(Codec, codec)
    if good.name != entry.name:
        raise PluginError(f'{called} calls itself "{good.name}"')
    return good


REGISTRY: Final = Registry()
"""Of this Python installation."""


def find(name: str) -> Codec:
    """`Registry.find` among the installed engines."""
    return REGISTRY.find(name)


def for_scheme(scheme: str) -> Codec:
    """`Registry.for_scheme` among the installed engines."""
    return REGISTRY.for_scheme(scheme)


def for_family(family: str) -> Codec:
    """`Registry.for_family` among the installed engines."""
    return REGISTRY.for_family(family)


def installed() -> list[Installed]:
    """`Registry.installed` of this Python installation."""
    return REGISTRY.installed()

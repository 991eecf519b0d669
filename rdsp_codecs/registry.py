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
    """One entry point.

    Attributes:
        name: of the engine.
        where: `module:attribute`.
        package: the distribution that brought it and its version, or "".
        codec: None when it could not be loaded;
        trouble: then says why.
    """

    name: str
    where: str
    package: str
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
        return _load(known[name])

    def for_scheme(self, scheme: str) -> Codec:
        """The engine for a URL's scheme, in any case of letters. Raises `PluginError`."""
        wanted = scheme.lower()
        return self._first(lambda codec: wanted in codec.schemes, "URL scheme", scheme, lambda codec: codec.schemes)

    def for_family(self, family: str) -> Codec:
        """The engine for RDS Proxy's `EngineFamily`. Raises `PluginError`.

        Where several share a family, the one whose name comes first in the family's own (MYSQL: mysql, then mariadb).
        """
        return self._first(
            lambda codec: codec.engine_family == family, "engine family", family, lambda codec: (codec.engine_family,)
        )

    def installed(self) -> list[Installed]:
        """All of them, usable or not, by name."""
        found: list[Installed] = []
        for name, entry in sorted(self._by_name().items()):
            package = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else ""
            try:
                found.append(Installed(name, entry.value, package, _load(entry)))
            except PluginError as error:
                found.append(Installed(name, entry.value, package, None, str(error)))
        return found

    def _by_name(self) -> dict[str, EntryPoint]:
        known: dict[str, EntryPoint] = {}
        for entry in self.entries():
            # The same distribution may be seen twice (installed, and its source folder on the path).
            if known.setdefault(entry.name, entry).value != entry.value:
                raise PluginError(f'two engines are called "{entry.name}": {known[entry.name].value} and {entry.value}')
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
        fitting = [codec for codec in usable if fits(codec)]
        if fitting:
            return min(fitting, key=lambda codec: (not wanted.lower().startswith(codec.name), codec.name))
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


def _load(entry: EntryPoint) -> Codec:
    try:
        codec: object = entry.load()
    except Exception as error:  # a plug-in may fail in any way; whichever, it is the plug-in's
        raise PluginError(
            f'the engine "{entry.name}" ({entry.value}) cannot be loaded: {type(error).__name__}: {error}'
        ) from error
    lacking = [name for name in _CALLABLE if not callable(getattr(codec, name, None))]
    lacking += [name for name, kind in _PLAIN.items() if not isinstance(getattr(codec, name, None), kind)]
    api = getattr(codec, "api", None)
    # The API number first: of another version's engine it says nothing that a member is missing.
    if api != API_VERSION:
        raise PluginError(f'the engine "{entry.name}" is for API {api}, this is API {API_VERSION}')
    if lacking:
        raise PluginError(
            f'the engine "{entry.name}" ({entry.value}) lacks or has of a wrong type: {", ".join(sorted(lacking))}'
        )
    good = cast(Codec, codec)
    if good.name != entry.name:
        raise PluginError(f'the engine "{entry.name}" ({entry.value}) calls itself "{good.name}"')
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

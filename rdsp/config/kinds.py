"""The kinds of settings: what each takes, how it checks, how it shows, how it looks in a JSON Schema.

Named in the metadata of `rdsp.config.model`; called by the loader, the validators, the diff and the reference. A kind
never puts the value of a secret into an error or into its output.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import attrs

from rdsp.config.addresses import check_host, parse_address, parse_target, show_target
from rdsp.config.secret import Secret, expand, is_text, mentions_variable
from rdsp.config.units import DURATION_FORM, SIZE_FORM, BadValue, parse_duration, parse_size, show_duration, show_size

JsonSchema = dict[str, Any]
_DURATION_PATTERN: Final = r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)?$"
_SIZE_PATTERN: Final = r"^[0-9]+(\.[0-9]+)? ?(B|KiB|MiB|GiB)?$"
_HIDDEN: Final = "(hidden)"


class Kind(Protocol):
    """One kind of setting. Values without attributes of their own; all methods are pure."""

    @property
    def title(self) -> str:
        """For the reference page: "integer", "duration", ..."""

    @property
    def unit(self) -> str:
        """Of the stored number, or ""."""

    def parse(self, raw: object, environ: Mapping[str, str]) -> Any:
        """A TOML value to a stored one. Raises `BadValue` with a text that fits behind `path: `."""

    def check(self, value: Any) -> None:
        """Range of a stored value. Raises `BadValue`."""

    def limits(self) -> str:
        """The range for people: `1..100`."""

    def show(self, value: Any) -> str:
        """A stored value for people, secrets hidden."""

    def schema(self) -> JsonSchema:
        """JSON Schema of what `parse` takes."""


def quote(raw: object) -> str:
    """A TOML value for an error message: short, on one line."""
    if isinstance(raw, Mapping):
        return "a table"
    if isinstance(raw, list | tuple):
        return "a list"
    if not isinstance(raw, str | int | float):
        return "a date or time"
    try:
        text = json.dumps(raw, ensure_ascii=False)
    except ValueError:  # an integer of thousands of digits
        return "a very large number"
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def _in_range(value: Any, low: float, high: float, show: Callable[[Any], str]) -> None:
    if not low <= value <= high:
        raise BadValue(f"{show(value)} is not in {show(low)}..{show(high)}")


@attrs.frozen
class Whole:
    """An integer in `low..high`."""

    low: int
    high: int
    unit: str = ""
    title = "integer"

    def parse(self, raw: object, environ: Mapping[str, str]) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise BadValue(f"expected an integer in {self.limits()}, got {quote(raw)}")
        if abs(raw) > 1 << 63:
            raise BadValue(f"{quote(raw)} is not in {self.limits()}")
        self.check(raw)
        return raw

    def check(self, value: int) -> None:
        _in_range(value, self.low, self.high, str)

    def limits(self) -> str:
        return f"{self.low}..{self.high}"

    def show(self, value: int) -> str:
        return str(value)

    def schema(self) -> JsonSchema:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@attrs.frozen
class Duration:
    """Seconds in `low..high`, written as a number or with a unit."""

    low: float
    high: float
    title = "duration"
    unit = "seconds"

    def parse(self, raw: object, environ: Mapping[str, str]) -> float:
        try:
            seconds = parse_duration(raw)
        except BadValue:
            raise BadValue(f"expected {DURATION_FORM}, in {self.limits()}, got {quote(raw)}") from None
        self.check(seconds)
        return seconds

    def check(self, value: float) -> None:
        if not self.low <= value <= self.high:
            raise BadValue(f"{_plain(value)} is not in {self.limits()}")

    def limits(self) -> str:
        return f"{_plain(self.low)}..{_plain(self.high)} seconds"

    def show(self, value: float) -> str:
        return show_duration(value)

    def schema(self) -> JsonSchema:
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": _DURATION_PATTERN}]}


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:.9g}"


@attrs.frozen
class Size:
    """Bytes in `low..high`, written as a number or with a unit."""

    low: int
    high: int
    title = "size"
    unit = "bytes"

    def parse(self, raw: object, environ: Mapping[str, str]) -> int:
        try:
            size = parse_size(raw)
        except BadValue:
            raise BadValue(f"expected {SIZE_FORM}, in {self.limits()}, got {quote(raw)}") from None
        if abs(size) > 1 << 63:
            raise BadValue(f"{quote(raw)} is not in {self.limits()}")
        self.check(size)
        return size

    def check(self, value: int) -> None:
        _in_range(value, self.low, self.high, show_size)

    def limits(self) -> str:
        return f"{show_size(self.low)}..{show_size(self.high)}"

    def show(self, value: int) -> str:
        return show_size(value)

    def schema(self) -> JsonSchema:
        number = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": _SIZE_PATTERN}]}


@attrs.frozen
class Flag:
    """true or false."""

    title = "boolean"
    unit = ""

    def parse(self, raw: object, environ: Mapping[str, str]) -> bool:
        if not isinstance(raw, bool):
            raise BadValue(f"expected true or false, got {quote(raw)}")
        return raw

    def check(self, value: bool) -> None:
        """Both are fine."""

    def limits(self) -> str:
        return "true, false"

    def show(self, value: bool) -> str:
        return "true" if value else "false"

    def schema(self) -> JsonSchema:
        return {"type": "boolean"}


@attrs.frozen
class Text:
    """A text that fits `pattern` and has `low..high` characters.

    Attributes:
        form: says in words what the pattern allows.
        verbatim: `${NAME}` has no meaning here and is not warned about (SQL).
    """

    low: int = 1
    high: int = 255
    pattern: str = r"[^\0\r\n]*"
    form: str = ""
    verbatim: bool = False
    title = "text"
    unit = ""

    def parse(self, raw: object, environ: Mapping[str, str]) -> str:
        if not isinstance(raw, str):
            raise BadValue(f"expected a text, got {quote(raw)}")
        if not self.verbatim and mentions_variable(raw):
            raise BadValue("environment variables (${NAME}) are only put into secrets")
        self.check(raw)
        return raw

    def check(self, value: str) -> None:
        if not self.low <= len(value) <= self.high:
            raise BadValue(f"{quote(value)} has {len(value)} characters, expected {self.low}..{self.high}")
        if not re.fullmatch(self.pattern, value):
            raise BadValue(f"{quote(value)} is not {self.form or 'one line of text'}")

    def limits(self) -> str:
        return f"{self.low}..{self.high} characters" + (f", {self.form}" if self.form else "")

    def show(self, value: str) -> str:
        return json.dumps(value, ensure_ascii=False)

    def schema(self) -> JsonSchema:
        return {"type": "string", "minLength": self.low, "maxLength": self.high}


@attrs.frozen
class FilePath(Text):
    """The path of a file, or of a folder (`folder`). The loader completes a relative one and looks for it."""

    high: int = 4096
    folder: bool = False
    title = "path"

    def limits(self) -> str:
        return "a folder" if self.folder else "a file"


@attrs.frozen
class Host:
    """A host name or address."""

    title = "host"
    unit = ""

    def parse(self, raw: object, environ: Mapping[str, str]) -> str:
        if not isinstance(raw, str):
            raise BadValue(f"expected a host name or address, got {quote(raw)}")
        if mentions_variable(raw):
            raise BadValue("environment variables (${NAME}) are only put into secrets")
        bare = raw[1:-1] if raw.startswith("[") and raw.endswith("]") else raw
        return check_host(bare)

    def check(self, value: str) -> None:
        check_host(value)

    def limits(self) -> str:
        return "a name, an IPv4 or an IPv6 address"

    def show(self, value: str) -> str:
        return json.dumps(value)

    def schema(self) -> JsonSchema:
        return {"type": "string", "minLength": 1}


@attrs.frozen
class ServerHost(Host):
    """A server's place: `parse_target` says what is taken. Stored as normal text; `Target.addresses` has the values."""

    def parse(self, raw: object, environ: Mapping[str, str]) -> str:
        if not isinstance(raw, str):
            raise BadValue(f"expected a host name or address, got {quote(raw)}")
        if mentions_variable(raw):
            raise BadValue("environment variables (${NAME}) are only put into secrets")
        bare = raw[1:-1] if raw.startswith("[") and raw.endswith("]") else raw
        return show_target(*parse_target(bare))

    def check(self, value: str) -> None:
        parse_target(value)

    def limits(self) -> str:
        return "a name, an IPv4 or an IPv6 address, a directory with a Unix socket, or `@NAME` (an abstract one)"


@attrs.frozen
class Network:
    """An IP network (`10.0.0.0/8`), one address, or `unix` for peers over Unix sockets. Stored as normal text."""

    title = "network"
    unit = ""

    def parse(self, raw: object, environ: Mapping[str, str]) -> str:
        if not isinstance(raw, str):
            raise BadValue(f"expected a network such as 10.0.0.0/8, got {quote(raw)}")
        if raw == "unix":
            return raw
        try:
            return str(ipaddress.ip_network(raw))
        except ValueError as error:
            raise BadValue(f"{quote(raw)} is not a network: {error}") from None

    def check(self, value: str) -> None:
        self.parse(value, {})

    def limits(self) -> str:
        return "`ADDRESS/BITS`, an address, or `unix`"

    def show(self, value: str) -> str:
        return json.dumps(value)

    def schema(self) -> JsonSchema:
        return {"type": "string", "minLength": 1}


@attrs.frozen
class OneOf:
    """One word of a list."""

    choices: tuple[str, ...]
    title = "choice"
    unit = ""

    def parse(self, raw: object, environ: Mapping[str, str]) -> str:
        if not isinstance(raw, str):
            raise BadValue(f"expected one of {self.limits()}, got {quote(raw)}")
        self.check(raw)
        return raw

    def check(self, value: str) -> None:
        if value not in self.choices:
            raise BadValue(f"{quote(value)} is not one of {self.limits()}")

    def limits(self) -> str:
        return ", ".join(self.choices)

    def show(self, value: str) -> str:
        return json.dumps(value)

    def schema(self) -> JsonSchema:
        return {"enum": list(self.choices)}


@attrs.frozen
class Hidden:
    """A password. Its value never shows."""

    title = "secret"
    unit = ""

    def parse(self, raw: object, environ: Mapping[str, str]) -> Secret:
        if not isinstance(raw, str):
            raise BadValue("expected a text")
        secret = Secret(expand(raw, environ))
        self.check(secret)
        return secret

    def check(self, value: Secret) -> None:
        if not value.value:
            raise BadValue("is empty; leave it out when there is no password")
        if "\0" in value.value:
            raise BadValue("has a zero character")
        if not is_text(value.value):
            raise BadValue("is not UTF-8 text")

    def limits(self) -> str:
        return "not empty; `${NAME}` takes an environment variable"

    def show(self, value: Secret) -> str:
        return _HIDDEN

    def schema(self) -> JsonSchema:
        return {"type": "string", "minLength": 1}


@attrs.frozen
class HiddenUrl:
    """The database's URL: hidden as a whole, since a password may stand in it. Taken apart by `rdsp.config.urls`."""

    title = "URL"
    unit = ""

    def parse(self, raw: object, environ: Mapping[str, str]) -> Secret:
        if not isinstance(raw, str) or not raw:
            raise BadValue("expected a URL of the form SCHEME://USER:PASSWORD@HOST:PORT/DATABASE")
        if not is_text(raw):  # of the command line
            raise BadValue("is not UTF-8 text")
        return Secret(raw)

    def check(self, value: Secret) -> None:
        """The URL's own module does."""

    def limits(self) -> str:
        return "`SCHEME://USER:PASSWORD@HOST:PORT/DATABASE`, percent-encoded; `${NAME}` in the password"

    def show(self, value: Secret) -> str:
        return _HIDDEN

    def schema(self) -> JsonSchema:
        return {"type": "string", "minLength": 1}


@attrs.frozen
class ListOf:
    """Several of another kind, no two alike. `single`: one may be written without the brackets."""

    item: Kind
    single: bool = False
    low: int = 0
    unit = ""

    @property
    def title(self) -> str:
        return f"list of {self.item.title}"

    def parse(self, raw: object, environ: Mapping[str, str]) -> tuple[Any, ...]:
        values: list[object] = [raw] if self.single and not isinstance(raw, list) else raw  # type: ignore[assignment]
        if not isinstance(values, list):
            raise BadValue(f"expected a list, got {quote(raw)}")
        found = tuple(self.item.parse(value, environ) for value in values)
        self.check(found)
        return found

    def check(self, value: tuple[Any, ...]) -> None:
        if len(value) < self.low:
            raise BadValue(f"expected {self.low} or more entries")
        for position, item in enumerate(value):
            self.item.check(item)
            if item in value[:position]:
                raise BadValue(f"{self.item.show(item)} stands there twice")

    def limits(self) -> str:
        return self.item.limits()

    def show(self, value: tuple[Any, ...]) -> str:
        return "[" + ", ".join(self.item.show(item) for item in value) + "]"

    def schema(self) -> JsonSchema:
        many = {"type": "array", "items": self.item.schema(), "uniqueItems": True, "minItems": self.low}
        return {"anyOf": [self.item.schema(), many]} if self.single else many


@attrs.frozen
class ListenAddress:
    """`HOST:PORT`, `[IPV6]:PORT`, a bare port, `unix:PATH`. Stored as normal text; `Proxy.addresses` has the values."""

    title = "address"
    unit = ""

    def parse(self, raw: object, environ: Mapping[str, str]) -> str:
        return str(parse_address(raw))

    def check(self, value: str) -> None:
        parse_address(value)

    def limits(self) -> str:
        return (
            "`HOST:PORT`, `[IPV6]:PORT`, a port alone (every IPv4 address), `unix:/DIRECTORY:PORT`, `unix:@NAME:PORT`, "
            "or `unix:/FILE`"
        )

    def show(self, value: str) -> str:
        return json.dumps(value)

    def schema(self) -> JsonSchema:
        return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0, "maximum": 65535}]}

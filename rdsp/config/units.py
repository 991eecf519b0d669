"""Durations and sizes as people write them: `"30s"`, `"16KiB"`. Pure; used by the kinds of settings."""

from __future__ import annotations

import math
import re
from typing import Final

_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_NUMBER_AND_UNIT: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)[ ]?([A-Za-z]*)", re.ASCII)


class BadValue(ValueError):
    """A value that does not fit; the text says what is expected and fits behind `path: `. Never a secret's value."""


DURATION_FORM: Final = 'a number of seconds, or a text like "500ms", "30s", "5m", "24h"'
SIZE_FORM: Final = 'a number of bytes, or a text like "64KiB", "16MiB", "1GiB"'


def parse_duration(raw: object) -> float:
    """Seconds. A bare number is seconds already. Raises `BadValue` with what is expected."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise BadValue(f"expected {DURATION_FORM}")
    if isinstance(raw, str):
        found = _NUMBER_AND_UNIT.fullmatch(raw.strip())
        if found is None or (found[2] or "s") not in _DURATION_UNITS:
            raise BadValue(f"expected {DURATION_FORM}")
        # Rounded to microseconds: 0.1 "ms" and the like would else print as 0.00010000000000000002.
        return round(float(found[1]) * _DURATION_UNITS[found[2] or "s"], 6)
    # A TOML integer may have any number of digits, and float() raises OverflowError for some.
    if (isinstance(raw, int) and abs(raw) > 1 << 60) or not math.isfinite(raw):
        raise BadValue(f"expected {DURATION_FORM}")
    return float(raw)


def parse_size(raw: object) -> int:
    """Bytes. A bare whole number is bytes already. Raises `BadValue` with what is expected."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        found = _NUMBER_AND_UNIT.fullmatch(raw.strip())
        if found is not None and (found[2] or "B") in _SIZE_UNITS:
            size = float(found[1]) * _SIZE_UNITS[found[2] or "B"]
            if size == int(size):
                return int(size)
    raise BadValue(f"expected {SIZE_FORM}")


def show_duration(seconds: float) -> str:
    """The shortest exact text: `86400.0` is "24h", `0.25` is "250ms"."""
    for unit in ("h", "m"):
        count = seconds / _DURATION_UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{seconds!r}s"


def show_size(size: int) -> str:
    """The shortest exact text: 65536 is "64KiB"."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}B"

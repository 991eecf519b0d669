"""What a Bind says that its statement's text does not: the names of settings that come as parameters.

`requests` calls it for the rare statement that has such (`set_config($1, $2, false)`). Pure.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import attrs

from rdsp_codecs.pins import PinReason

if TYPE_CHECKING:
    from rdsp_codecs.postgres.session_state import Verdict

_COUNT = struct.Struct(">H")
_SIZE = struct.Struct(">i")
_SEED = b"seed"


_OID = struct.Struct(">I")
_AS_IT_IS = frozenset({0, 25, 705, 1043})
"""Types whose values are the text that they look like: none said, text, unknown, varchar. Not so char(n) and name."""


def bound_verdict(verdict: Verdict, parameters: bytes, *, only_ascii: bool, types: bytes = b"\0\0") -> Verdict:
    """What a statement does with these parameters; the verdict as it is, `named_by` and all, where that is not told.

    Arguments:
        verdict: of the statement's text.
        parameters: a Bind from its formats on (documentation, 55.7), perhaps cut. A text is the same bytes in both
            formats.
        types: of the statement's parameters, as a Parse has them.
        only_ascii: bytes below 0x80 may be parts of other characters (see `session_state.inspect`).
    """
    try:
        values = _values(parameters, max(verdict.named_by))
        if not all(_type(types, number) in _AS_IT_IS for number in verdict.named_by):
            return verdict
    except struct.error:
        return verdict
    # Too few of them are for the server to refuse, and so is no name at all.
    names = {values[number - 1] for number in verdict.named_by if 0 < number <= len(values)} - {None}
    found = {name.lower() for name in names if name is not None}
    if only_ascii and not all(name.isascii() for name in found):
        return verdict
    pins = verdict.pins
    if _SEED in found:
        pins = (*pins, (PinReason.RANDOM_SEED, "set_config of seed"))
    if b"search_path" in found:
        pins = (*pins, (PinReason.TEMPORARY_TABLE, "set_config of search_path"))
    touches = {**verdict.touches, **dict.fromkeys(found)}
    spelled = {name.lower(): name for name in names if name is not None and name != name.lower() and b"." in name}
    spelled |= verdict.spelled
    return attrs.evolve(
        verdict, pins=pins, touches=touches, spelled=spelled, sets=verdict.sets or bool(found), named_by=frozenset()
    )


def _type(types: bytes, number: int) -> int:
    """The OID of parameter `number` (1 or more). Raises `struct.error` where it is not there as a whole."""
    (count,) = _COUNT.unpack_from(types)
    oid: int = _OID.unpack_from(types, _COUNT.size + _OID.size * (number - 1))[0] if 0 < number <= count else 0
    return oid


def _values(parameters: bytes, most: int) -> list[bytes | None]:
    """The first `most` values. Raises `struct.error` where one is not there as a whole."""
    (formats,) = _COUNT.unpack_from(parameters)
    at = _COUNT.size * (1 + formats)
    (count,) = _COUNT.unpack_from(parameters, at)
    at += _COUNT.size
    values: list[bytes | None] = []
    for _ in range(min(count, most)):
        (size,) = _SIZE.unpack_from(parameters, at)
        at += _SIZE.size
        if at + size > len(parameters):
            raise struct.error("a value is cut")
        values.append(None if size < 0 else parameters[at : at + size])
        at += max(size, 0)
    return values

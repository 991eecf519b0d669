"""SQL texts of one session, as the relay inspects them: under what the server reports about quoting and encoding.

`requests` asks before a text goes out, `replies` when a command tag calls for a second look.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.binding import bound_verdict
from rdsp_codecs.postgres.digest import digest
from rdsp_codecs.postgres.notable import may_matter
from rdsp_codecs.postgres.session_state import HARMLESS, Verdict, inspect
from rdsp_codecs.postgres.setting_text import EVERYTHING
from rdsp_codecs.postgres.settings import ENCODING

READ_BY_TEXTS: Final = ("standard_conforming_strings", "client_encoding")
"""The parameters that change how texts are read."""
_UNSAFE_ENCODINGS: Final = frozenset({"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"})
_READING: Final = frozenset({b"standard_conforming_strings", EVERYTHING})
_RECODING: Final = frozenset({ENCODING, EVERYTHING})
_SAFE_ENCODING: Final = re.compile(
    rb"utf-?8|unicode|sql_?ascii|latin-?[0-9]+|iso-?8859[-_0-9]+|win-?125[0-9]"
).fullmatch
"""Names of encodings in which a byte below 0x80 is always a character, in small letters. There are more."""
_REMEMBERED_TEXT: Final = 512
_REMEMBERED_MAX: Final = 4096
_KEPT_TEXT: Final = 128
"""Bytes of a text that a session itself remembers: what it asks again and again is short."""
_MAY_USE_SEQUENCE: Final = re.compile(rb"insert|nextval|setval|copy|merge", re.IGNORECASE).search
_remembered: Final[dict[bytes, Verdict]] = {}
"""Verdicts of recent short texts: a pure function's results, at most 4096 of 512 bytes, thrown away together."""
DIGITS_ALIKE: Final = bytes.maketrans(b"123456789", b"000000000")
"""A table for `bytes.translate`. What `may_matter` says of a text does not depend on which digits are in it."""
_NOTHING_FOUND: Final = HARMLESS
_passed: Final[set[bytes]] = set()
"""Recent short texts, all their digits 0, in which `may_matter` finds nothing: clients that write values into their
texts send few different ones. As many, and thrown away, as those above.
"""


class Texts:
    """Inspects texts.

    Invariant: `escapes` and `multibyte_unsafe` follow what the server last reported to this session; `_changing` is set
    while the first may be different by the time the server reads a text, `_recoding` while the second may then be set;
    `_harmless` is a text in which nothing was found, which depends on no setting.

    Args:
        debug_text: pins carry the text instead of its digest.
        pin_sequences: who may have used a sequence is pinned.
    """

    __slots__ = (
        "_changing", "_debug_text", "_ever_unsafe", "_harmless", "_pin_sequences", "_recoding", "_utf8", "escapes",
        "multibyte_unsafe",
    )  # fmt: skip

    def __init__(self, *, debug_text: bool, pin_sequences: bool = False) -> None:
        self._debug_text = debug_text
        self._pin_sequences = pin_sequences
        self.escapes = False
        self.multibyte_unsafe = False
        self._utf8 = True
        self._changing = self._recoding = self._ever_unsafe = False
        self._harmless = b""

    def can_be(self, name: bytes) -> bool:
        """Whether a name is text in the client's encoding, as far as that is known here."""
        if not self._utf8 or name.isascii():
            return True
        try:
            name.decode()
        except UnicodeDecodeError:
            return False
        return True

    @property
    def usual(self) -> bool:
        """Texts in which nothing is found are no more than that (else sequences pin, or how texts are read changes)."""
        return not self._changing and not self._pin_sequences

    def passed(self, text: bytes) -> bool:
        """Whether a text that `inspect` has found nothing in is harmless however it is read."""
        return len(text) <= _REMEMBERED_TEXT and text.translate(DIGITS_ALIKE) in _passed

    def inspect(self, text: bytes) -> Verdict:
        """What the text does to the session."""
        if self._changing:
            return self._inspect_both(text)
        if text == self._harmless:
            return _NOTHING_FOUND
        unsafe = self.multibyte_unsafe or self._recoding
        if len(text) <= _REMEMBERED_TEXT and text.translate(DIGITS_ALIKE) in _passed:
            if len(text) <= _KEPT_TEXT and not self._pin_sequences:
                self._harmless = text
            verdict = _NOTHING_FOUND
        elif self.escapes or unsafe:
            verdict = inspect(text, escapes=self.escapes, multibyte_unsafe=unsafe)
        else:
            verdict = _recalled(text)
        return self._with_sequences(text, verdict) if self._pin_sequences else verdict

    def _with_sequences(self, text: bytes, verdict: Verdict) -> Verdict:
        """`pin_sequences`: who may have used a sequence is pinned."""
        if _MAY_USE_SEQUENCE(text) is None:
            return verdict
        return attrs.evolve(verdict, pins=(*verdict.pins, (PinReason.SEQUENCE_STATE, digest(text[:512]))))

    def _inspect_both(self, text: bytes) -> Verdict:
        unsafe = self.multibyte_unsafe or self._recoding
        one = inspect(text, multibyte_unsafe=unsafe)
        other = inspect(text, escapes=True, multibyte_unsafe=unsafe)
        if one == other:
            return one
        if attrs.evolve(one, touches={}, sole=None) == attrs.evolve(other, touches={}, sole=None):
            # Only a value is read otherwise, and the server is asked for that.
            touches = {name: one.touches.get(name) for name in one.touches.keys() | other.touches.keys()}
            same = {name: value if other.touches.get(name) == value else None for name, value in touches.items()}
            return attrs.evolve(one, touches=same, sole=None)
        return attrs.evolve(
            one,
            pins=(*one.pins, (PinReason.UNRECOGNISED_STATE, "standard_conforming_strings may have changed")),
            needs_native_names=one.needs_native_names or other.needs_native_names,
            names=None,
            executes=True,
            drops=one.drops or other.drops,
            discards=one.discards or other.discards,
            reads_sequence_memory=one.reads_sequence_memory or other.reads_sequence_memory,
            channels=None,
            sole=None,
        )

    def bound(self, verdict: Verdict, types: bytes, parameters: bytes) -> Verdict:
        """What a statement does that is bound to parameters: settings may be named by them."""
        if not verdict.named_by:
            return verdict
        only_ascii = self.multibyte_unsafe or self._recoding
        return bound_verdict(verdict, parameters, only_ascii=only_ascii, types=types)

    def goes(self, verdict: Verdict) -> None:
        """A text goes out: what comes behind it may be read otherwise, before the server's report tells."""
        sole, local = verdict.sole, verdict.local
        if not (verdict.touches or local):
            return
        names = {sole.name} if sole is not None else {*verdict.touches, *local}
        if not _READING.isdisjoint(names):
            self._changing = True
        if not _RECODING.isdisjoint(names) and not self._stays_safe(verdict):
            self._recoding = True

    def _stays_safe(self, verdict: Verdict) -> bool:
        """Of a text that may change the encoding: whether the new one cannot be one of the unsafe ones."""
        value = verdict.sole.statement if verdict.sole is not None else None
        if (verdict.sole is not None and value is None) or (not verdict.sets and not verdict.local):
            return not self._ever_unsafe  # back to that of the login
        return value is not None and _SAFE_ENCODING(value.partition(b"= ")[2].strip(b"'\"").lower()) is not None

    def request_over(self, *, outside: bool) -> None:
        """All was answered; `outside`: of a transaction, whose end could change it back."""
        if outside:
            self._changing = self._recoding = False

    def parameter(self, name: str, value: str) -> None:
        """The server reports a parameter: two of them change how texts are read."""
        if name == READ_BY_TEXTS[0]:
            self.escapes = value == "off"
        elif name == READ_BY_TEXTS[1]:
            self.multibyte_unsafe = value in _UNSAFE_ENCODINGS
            self._ever_unsafe = self._ever_unsafe or self.multibyte_unsafe
            self._utf8 = value == "UTF8"

    def detail(self, text: bytes) -> str:
        """What a pin says about a text."""
        return text[:512].decode("utf-8", "replace") if self._debug_text else digest(text)


def _recalled(text: bytes) -> Verdict:
    """The verdict on a text under the usual rules of quoting, remembered from last time or for next time."""
    verdict = _remembered.get(text)
    if verdict is not None:
        return verdict
    if len(text) > _REMEMBERED_TEXT:
        return inspect(text)
    if not may_matter(text):
        if len(_passed) >= _REMEMBERED_MAX:
            _passed.clear()
        _passed.add(text.translate(DIGITS_ALIKE))
        return _NOTHING_FOUND
    verdict = inspect(text)
    if len(_remembered) >= _REMEMBERED_MAX:
        _remembered.clear()
    _remembered[text] = verdict
    return verdict

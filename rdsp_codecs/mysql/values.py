"""How integers and strings are written in packets (MySQL Internals, "Basic Types"), and a reader of one payload.

Every length is checked before it is followed; what is malformed is a `WireError` that says what was being read.
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.errors import WireError

NULL: Final = 0xFB
"""In a row: no value. At the beginning of a response: LOCAL INFILE."""
_TWO: Final = 0xFC
_THREE: Final = 0xFD
_EIGHT: Final = 0xFE
_SIZES: Final = {_TWO: 2, _THREE: 3, _EIGHT: 8}


def integer(value: int, size: int) -> bytes:
    """A fixed-length integer of 1, 2, 3, 4 or 8 bytes."""
    return value.to_bytes(size, "little")


def lenenc_integer(value: int) -> bytes:
    """A length-encoded integer, 0..2**64-1, in its shortest form."""
    if value < NULL:
        return bytes((value,))
    if value < 1 << 16:
        return b"\xfc" + value.to_bytes(2, "little")
    if value < 1 << 24:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


def lenenc(data: bytes) -> bytes:
    """A length-encoded string."""
    return lenenc_integer(len(data)) + data


def terminated(data: bytes) -> bytes:
    """A string with its NUL. Raises `WireError` when it has one already."""
    if b"\0" in data:
        msg = "a NUL in a string that ends with one"
        raise WireError(msg)
    return data + b"\0"


class Reader:
    """Reads one payload from its beginning to its end. Every method raises `WireError` when it is too short.

    Invariant: `at` is in 0..len(data), and what is before it was read.

    Args:
        data: the payload.
        what: what it is, for errors.
    """

    __slots__ = ("at", "data", "what")

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.what = what
        self.at = 0

    def fault(self, why: str) -> WireError:
        """The error that says where reading stopped."""
        return WireError(f"a malformed {self.what}: {why}")

    @property
    def left(self) -> int:
        """Bytes that are not read."""
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        """The next bytes."""
        end = self.at + size
        if end > len(self.data):
            raise self.fault(f"it ends before the {size} bytes at {self.at}")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def integer(self, size: int) -> int:
        """A fixed-length integer."""
        return int.from_bytes(self.take(size), "little")

    def lenenc_integer(self) -> int:
        """A length-encoded integer. NULL and the mark of an error are none."""
        first = self.integer(1)
        if first < NULL:
            return first
        size = _SIZES.get(first)
        if size is None:
            raise self.fault(f"0x{first:02x} begins no integer")
        return self.integer(size)

    def lenenc(self) -> bytes:
        """A length-encoded string."""
        return self.take(self.lenenc_integer())

    def value(self) -> bytes | None:
        """A length-encoded string or NULL, as a row has it."""
        if self.data[self.at : self.at + 1] == b"\xfb":
            self.at += 1
            return None
        return self.lenenc()

    def terminated(self) -> bytes:
        """A string up to its NUL, without it."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise self.fault("a string has no end")
        taken = self.data[self.at : end]
        self.at = end + 1
        return taken

    def rest(self) -> bytes:
        """All that is not read."""
        taken = self.data[self.at :]
        self.at = len(self.data)
        return taken

    def close(self) -> None:
        """Raises `WireError` when there is more."""
        if self.left:
            raise self.fault(f"{self.left} bytes too many")

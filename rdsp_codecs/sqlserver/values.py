"""How integers and strings are written in messages, and a reader of one ([MS-TDS] 2.2.5.1).

Integers are little-endian where nothing else is said, characters UTF-16 of two bytes each. Every length is checked
before it is followed; what is malformed is a `WireError` that says what was being read.
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.errors import WireError

NO_LENGTH: Final = 0xFFFF
"""The length of a value that is NULL, or comes in parts."""


def integer(value: int, size: int) -> bytes:
    """An unsigned integer of 1, 2, 4 or 8 bytes."""
    return value.to_bytes(size, "little")


def signed(value: int, size: int) -> bytes:
    """A signed integer of 1, 2, 4 or 8 bytes."""
    return value.to_bytes(size, "little", signed=True)


def wide(text: str) -> bytes:
    """Characters alone. What Python has of lone halves of a pair goes out as it came in."""
    return text.encode("utf-16-le", "surrogatepass")


def narrow(data: bytes) -> str:
    """Characters alone. Raises `WireError` for an odd number of bytes."""
    try:
        return data.decode("utf-16-le", "surrogatepass")
    except UnicodeDecodeError as error:
        msg = f"malformed characters: {error.reason}"
        raise WireError(msg) from None


def b_varchar(text: str) -> bytes:
    """A string of up to 255 characters behind one byte that counts them."""
    data = wide(text)
    return bytes((len(data) // 2,)) + data


def us_varchar(text: str) -> bytes:
    """A string of up to 65535 characters behind two bytes that count them."""
    data = wide(text)
    return integer(len(data) // 2, 2) + data


def b_varbyte(data: bytes) -> bytes:
    """Up to 255 bytes behind one byte that counts them."""
    return bytes((len(data),)) + data


class Reader:
    """Reads one message from its beginning to its end. Every method raises `WireError` when it is too short.

    Invariant: `at` is in 0..len(data), and what is before it was read.

    Args:
        data: the message.
        what: what it is, for errors.
    """

    __slots__ = ("at", "data", "what")

    def __init__(self, data: bytes, what: str, at: int = 0) -> None:
        self.data = data
        self.what = what
        self.at = at

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

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        self.take(size)

    def integer(self, size: int) -> int:
        """An unsigned integer of that many bytes."""
        return int.from_bytes(self.take(size), "little")

    def signed(self, size: int) -> int:
        """A signed integer of that many bytes."""
        return int.from_bytes(self.take(size), "little", signed=True)

    def b_varchar(self) -> str:
        """See the function."""
        return narrow(self.take(2 * self.integer(1)))

    def us_varchar(self) -> str:
        """See the function."""
        return narrow(self.take(2 * self.integer(2)))

    def b_varbyte(self) -> bytes:
        """See the function."""
        return self.take(self.integer(1))

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

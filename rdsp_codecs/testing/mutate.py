"""Bytes that are not what they should be."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

Mutations = list[tuple[str, int]]

MUTATIONS: Final[st.SearchStrategy[Mutations]] = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "double", "drop", "insert", "swap", "end"]), st.integers(0, 1 << 40)
    ),
    min_size=1,
    max_size=3,
)


def mutated(data: bytes, mutations: Mutations) -> bytes:
    """`data` with something done to it, of which a reader knows nothing."""
    for kind, number in mutations:
        if not data:
            break
        at, more = number % len(data), number // len(data)
        size = 1 + more % 8
        one, some, rest = data[:at], data[at : at + size], data[at + size :]
        match kind:
            case "flip":
                data = one + bytes([some[0] ^ 1 << more % 8]) + data[at + 1 :]
            case "set":
                data = one + bytes([(0, 1, 10, 127, 128, 255)[more % 6]]) * len(some) + rest
            case "cut":
                data = one + data[at + 1 :]
            case "double":
                data = one + some + some + rest
            case "drop":
                data = one + rest
            case "insert":
                data = one + (more & 0xFFFFFFFF).to_bytes(4, "big") + some + rest
            case "swap":
                data = rest + one + some
            case _:
                data = one
    return data

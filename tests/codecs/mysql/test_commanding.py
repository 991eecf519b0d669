"""What a client has said, held until it is whole."""

from __future__ import annotations

import time

import pytest

from rdsp_codecs.mysql.commanding import Inbound
from rdsp_codecs.mysql.framing import FULL, packets


@pytest.mark.parametrize("size", [FULL - 1, FULL, FULL + 1, 2 * FULL])
def test_a_long_command_is_looked_at_in_linear_time(size: int) -> None:
    """It comes in thousands of pieces, and after each of them it is asked whether it is whole."""
    data = packets(b"\3" + b"x" * (size - 1))
    inbound = Inbound(1 << 30, 64 << 20)
    begun = time.process_time()
    for at in range(0, len(data) - 4096, 4096):
        inbound.feed(data[at : at + 4096])
        assert inbound.next() is None
    inbound.feed(data[at + 4096 :])
    found = inbound.next()
    assert time.process_time() - begun < 2, "seconds; copied each time it takes twenty"
    assert found == b"\3" + b"x" * (size - 1)
    assert inbound.whole
    assert inbound.take() == data
    assert inbound.number == size // FULL
    assert inbound.size == 0

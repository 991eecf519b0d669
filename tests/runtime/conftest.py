"""Every test of this folder runs under a virtual clock that jumps as soon as all tasks wait."""

from __future__ import annotations

import pytest
import trio.testing


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """pytest-trio takes the clock fixture of a test as the run's clock."""
    return trio.testing.MockClock(autojump_threshold=0)

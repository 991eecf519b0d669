"""What several clients say to PostgreSQL in turns, while somebody changes a table."""

from __future__ import annotations

from hypothesis import strategies as st

from rdsp_codecs.testing.pool import Step
from rdsp_codecs.testing.postgres.strategies import STEPS

DDL = b"DDL"
"""In the place of a step's data: somebody changes a table."""


@st.composite
def conversations(draw: st.DrawFn, who: str = "AB", length: int = 12) -> list[Step]:
    steps: list[Step] = []
    for _ in range(draw(st.integers(3, length))):
        name = draw(st.sampled_from(who))
        parts = draw(STEPS)
        waits = len(parts) > 1 or draw(st.booleans())
        steps += [Step(name, data, waits) for data in parts]
        if draw(st.integers(0, 5)) == 5:
            steps.append(Step(name, draw(st.sampled_from([None, DDL, DDL])), waits=True))
    if any(word in (step.data or b"") for step in steps for word in (b"PREPARE", b"EXECUTE", b"DEALLOCATE")):
        # Where SQL names statements, one that DDL has changed is gone for it, and refused by the protocol: accepted.
        steps = [step for step in steps if step.data != DDL]
    return steps


SEEDS = st.integers(0, 1 << 16)

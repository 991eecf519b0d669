"""The written modules and the compiled ones do the same with anything: same bytes, same moves, same errors."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.api import RelayPolicy
from rdsp_codecs.choice import COMPILED, PACKAGE, PYTHON, choose
from rdsp_codecs.framing import Framing
from rdsp_codecs.postgres.framing import SERVER_FRAMING, client_framing
from tests.codecs.agreement import Filtered, Relayed
from tests.codecs.postgres.test_relay_properties import MUTATIONS, SEEDS, cut, mutated
from tests.codecs.postgres.test_shortcuts import POLICIES, TURNS
from tests.servers import rawclient as w
from tests.waiting import PATIENCE

ROOT = Path(__file__).parent.parent.parent
BUILT = ROOT / "build" / "compiled"


@attrs.define(eq=False)
class Runner:
    """A process that runs jobs."""

    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, scanner: str) -> Runner:
        environment = {**os.environ, "RDSP_SCANNER": scanner, "PYTHONPATH": f"{ROOT}{os.pathsep}{BUILT}"}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.codecs.agreement"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
        )
        runner = cls(process)
        assert runner.hears() == scanner
        return runner

    def tells(self, job: Filtered | Relayed) -> object:
        assert self.process.stdin is not None
        pickle.dump(job, self.process.stdin)
        self.process.stdin.flush()
        return self.hears()

    def hears(self) -> object:
        assert self.process.stdout is not None
        return pickle.load(self.process.stdout)

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Runner, Runner]]:
    choice, _ = choose(COMPILED, BUILT / PACKAGE, ROOT)
    if choice.trouble:
        if os.environ.get("RDSP_REQUIRE_SERVERS"):
            pytest.fail(f"{choice.trouble}: make compiled")
        pytest.skip(f"{choice.trouble}: make compiled")
    runners = Runner.start(PYTHON), Runner.start(COMPILED)
    yield runners
    for runner in runners:
        runner.end()


FRAMINGS = st.sampled_from(
    [
        client_framing(5000),
        SERVER_FRAMING,
        Framing(header=5, length_at=0, length_size=3, little=True, length_adds=4, tag_at=4),
        Framing(header=8, length_at=2, length_size=2, little=False, length_adds=0, tag_at=0),
    ]
)
FRAMES = st.one_of(
    st.builds(lambda tag, size: w.message(chr(tag), bytes(size)), st.integers(0, 127), st.integers(0, 60)),
    st.builds(lambda tag, size: w.message(chr(tag), bytes(size)), st.integers(0, 127), st.integers(4000, 6000)),
    st.builds(lambda size, tag: size.to_bytes(3, "little") + b"\0" + bytes([tag] * size), SEEDS, st.integers(0, 255)),
    st.binary(max_size=20),
)


@given(
    framing=FRAMINGS,
    frames=st.lists(FRAMES, max_size=8),
    seed=SEEDS,
    times=st.integers(1, 40),
    max_whole=st.sampled_from([50, 5000]),
)
def test_both_filter_the_same(
    both: tuple[Runner, Runner], framing: Framing, frames: list[bytes], seed: int, times: int, max_whole: int
) -> None:
    pieces = [piece for piece in cut(seed, times)(b"".join(frames)) if piece]
    written, compiled = (runner.tells(Filtered(framing, pieces, max_whole)) for runner in both)
    assert written == compiled


@given(
    turns=TURNS,
    seed=SEEDS,
    times=st.sampled_from([0, 0, 3, 50]),
    policy=POLICIES,
    mutations=st.one_of(st.none(), MUTATIONS),
)
def test_both_relay_the_same(
    both: tuple[Runner, Runner],
    turns: list[tuple[int, bytes]],
    seed: int,
    times: int,
    policy: RelayPolicy,
    mutations: list[tuple[str, int]] | None,
) -> None:
    if mutations is not None and turns:
        turns = [*turns[:-1], (turns[-1][0], mutated(turns[-1][1], mutations))]
    written, compiled = (runner.tells(Relayed(turns, seed, times, policy)) for runner in both)
    assert written == compiled

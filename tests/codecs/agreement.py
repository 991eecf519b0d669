"""A process of its own that runs jobs on the modules that RDSP_SCANNER chooses, and tells all that came of them.

`test_both_agree` starts one with the written modules and one with the compiled ones and compares what they say.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable

import attrs

from rdsp_codecs.api import RelayPolicy
from rdsp_codecs.choice import CHOICE
from rdsp_codecs.filtering import ChunkFilter
from rdsp_codecs.framing import Framing, interest
from rdsp_codecs.postgres.statements import NOBODY
from rdsp_codecs.scanning import compile_scanner
from rdsp_codecs.verdicts import DROP, KEEP, STOP, Head
from tests.codecs.postgres.model_proxy import cut
from tests.codecs.postgres.test_shortcuts import Shared

Said = list[object]


@attrs.frozen
class Filtered:
    """Pieces of one direction. What the judge answers depends on the byte that names the kind of frame."""

    framing: Framing
    pieces: list[bytes]
    max_whole: int

    def run(self, said: Said) -> None:
        """Push all pieces, and resume after every one."""
        out: list[bytes] = []
        stops = 0

        def judge(tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
            nonlocal stops
            said.append((tag, start, shown, total))
            stops += 1
            answers = (KEEP, DROP, b"<other>", Head(b"<head>"), STOP if stops % 2 else KEEP)
            return answers[tag % len(answers)]

        filter_ = ChunkFilter(self.framing, interest(bytes(range(0, 256, 2)), b"\1\7"), judge, out, self.max_whole)
        scan = compile_scanner(self.framing)
        for piece in self.pieces:
            said.append(scan(piece, 0, len(piece), filter_.interest))
            filter_.push(piece)
            filter_.resume()
            said += [list(out), filter_.held, filter_.between_frames, filter_.empty, filter_.owes, filter_.kept]


@attrs.frozen
class Relayed:
    """What two clients say in turn, in pieces."""

    turns: list[tuple[int, bytes]]
    seed: int
    times: int
    policy: RelayPolicy

    def run(self, said: Said) -> None:
        """All turns."""
        pieces: Callable[[bytes], list[bytes]] = cut(self.seed, self.times)
        lane = Shared(pieces if self.times else lambda data: [data] if data else [], self.policy)
        lane.seen = said
        for who, data in self.turns:
            lane.feed(who, data)


def tell(job: Filtered | Relayed) -> bytes:
    """Run a job; what it gave, or with which error it ended behind what."""
    said: Said = []
    try:
        job.run(said)
    except Exception as error:
        said.append((type(error).__name__, str(error)))
    # The name that nobody has is another one in every process.
    return repr(said).encode().replace(NOBODY, b"NOBODY")


def main() -> None:
    """Jobs from stdin until it ends, results to stdout, the choice first."""
    pickle.dump(CHOICE.name, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(tell(job), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

from __future__ import annotations

import fcntl
import io
import os
import re
import subprocess
import sys
import time

from hypothesis import given
from hypothesis import strategies as st

from rdsp.observe.lines import Gate, LineWriter
from tests.waiting import PATIENCE, eventually


def lost(count: int) -> str:
    return f"lost {count}"


class Pipe:
    """A pipe nobody reads until told to, with as small a buffer as there is."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        self.stream = os.fdopen(writer, "w")

    def read_until(self, ending: str) -> str:
        text = ""
        while not text.endswith(ending):
            chunk = os.read(self.reader, 65536)
            assert chunk, text[-200:]
            text += chunk.decode()
        return text

    def close(self) -> None:
        self.stream.close()
        os.close(self.reader)


def test_lines_come_out_in_their_order() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream, lost=lost)
    for number in range(1000):
        writer.write(f"{number}\n")
    writer.close()
    assert stream.getvalue() == "".join(f"{number}\n" for number in range(1000))
    assert writer.dropped == 0


def test_a_stream_that_stands_still_makes_nobody_wait_and_what_is_lost_is_counted() -> None:
    pipe = Pipe()
    writer = LineWriter(pipe.stream, most=20, lost=lost)
    line = "x" * 199 + "\n"
    began = time.monotonic()
    for _ in range(2000):
        writer.write(line)
    assert time.monotonic() - began < 10.0
    assert writer.dropped > 1000
    # The reader wakes: what was kept comes, and how much was not, and new lines.
    kept = 2000 - writer.dropped
    seen = ""
    while seen.count(line) < kept:
        seen += os.read(pipe.reader, 65536).decode()
    writer.write("after\n")
    seen += pipe.read_until("after\n")
    writer.close()
    pipe.close()
    assert seen.count(line) == kept
    # The thread may have told of some before the pipe was full: then the rest is told apart.
    assert sum(int(told) for told in re.findall(r"lost (\d+)\n", seen)) == writer.dropped


def test_closing_does_not_wait_for_a_stream_that_stands_still() -> None:
    pipe = Pipe()
    writer = LineWriter(pipe.stream, most=20, lost=lost)
    for _ in range(100):
        writer.write("x" * 1000 + "\n")
    writer.close(0.1)  # it comes back: nobody ever reads
    kept = writer.dropped
    writer.write("too late\n")
    assert writer.dropped == kept + 1
    os.close(pipe.reader)  # the thread gets EPIPE and ends
    eventually(lambda: writer._thread is not None and not writer._thread.is_alive())
    pipe.stream.close()


def test_a_reader_that_is_gone_costs_lines_and_nothing_else() -> None:
    pipe = Pipe()
    os.close(pipe.reader)
    writer = LineWriter(pipe.stream, lost=lost)
    writer.write("nobody reads this\n")
    eventually(lambda: writer.dropped == 1)
    writer.write("nor this\n")
    eventually(lambda: writer.dropped == 2)
    writer.close()
    pipe.stream.close()


def test_a_non_blocking_stream_gets_every_byte() -> None:
    pipe = Pipe()
    os.set_blocking(pipe.stream.fileno(), False)
    writer = LineWriter(pipe.stream, most=1000, lost=lost)
    for number in range(500):
        writer.write(f"{number} {'y' * 100}\n")
    writer.write("end\n")
    text = pipe.read_until("end\n")
    writer.close()
    pipe.close()
    assert text.count("y" * 100) == 500
    assert writer.dropped == 0


def test_a_process_that_ends_writes_its_last_lines() -> None:
    program = (
        "import sys\n"
        "from rdsp.observe.lines import LineWriter\n"
        "writer = LineWriter(sys.stderr, lost=str)\n"
        "for number in range(500): writer.write(f'{number}\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "".join(f"{number}\n" for number in range(500)))


def test_a_process_ends_although_its_log_stands_still() -> None:
    program = (
        "import sys\n"
        "from rdsp.observe.lines import LineWriter\n"
        "writer = LineWriter(sys.stderr, lost=str)\n"
        "for number in range(3000): writer.write('z' * 200 + '\\n')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.stderr.close()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 0.7)), max_size=60), st.integers(1, 4))
def test_every_event_passes_or_is_told_later_and_never_too_many_pass(
    events: list[tuple[str, float]], per_second: int
) -> None:
    gate, now, passed, told = Gate(per_second), 0.0, [], 0
    for kind, pause in events:
        now += pause
        told += sum(count for _, count in gate.overdue(now))
        if gate.passes(kind, now):
            passed.append((kind, now))
    # A hair more than a second: sums of floating-point times may be rounded to just less.
    told += sum(count for _, count in gate.overdue(now + 1.001))
    assert len(passed) + told == len(events)
    assert gate.overdue(now + 10.0) == []
    for kind in "ab":
        times = [at for name, at in passed if name == kind]
        # Windows begin with an event and last a second, so that any shorter time meets two of them at most.
        for at in times:
            assert sum(1 for other in times if at <= other < at + 0.999) <= 2 * per_second


def test_one_kind_of_event_does_not_shut_out_another() -> None:
    gate = Gate(1)
    assert [gate.passes("flood", 0.0) for _ in range(3)] == [True, False, False]
    assert gate.passes("rare", 0.0)
    assert gate.overdue(0.5) == []
    assert gate.overdue(1.0) == [("flood", 2)]
    assert gate.passes("flood", 1.0)

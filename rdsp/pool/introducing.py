"""What a target's servers say of themselves, for engines whose servers speak first (`questions.Introduce`).

The latest login has told it. Before the first one a connection is made for it, one for all who wait; none of them has
said who it is, so that nobody's name could be used for a login.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping

import trio

from rdsp.pool.opening import Opener
from rdsp_codecs.errors import CodecError, LoginRefused
from rdsp_codecs.problems import Problem, ProblemCode


class _Attempt:
    """Shared by all who ask while it is made. `failure` says why it came to nothing."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.failure: Problem | bytes = Problem(ProblemCode.SHUTTING_DOWN)


class Introductions:
    """Of one target.

    Invariant: an attempt goes on whoever leaves, so that clients that come and go make no connections of their own; and
    who asks waits for the end of one attempt at most.

    Args:
        timeout: seconds for an attempt.
        report: called with the trace of a fault of the program.

    Attributes:
        latest: what was said last; None: nothing yet.
    """

    def __init__(self, opener: Opener, timeout: float, report: Callable[[str], None]) -> None:
        self._opener = opener
        self._timeout = timeout
        self._report = report
        self._attempt: _Attempt | None = None
        self._wanted = trio.Event()
        self._closed = False
        self.latest: Mapping[str, str] | None = None

    async def run(self) -> None:
        """Make the attempts, until cancelled; then nobody is kept waiting."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                if self._attempt is not None:
                    failure = await self._find_out()
                    if failure is not None:
                        self._attempt.failure = failure
                    self._over()
        finally:
            self._closed = True
            self._over()

    async def ask(self) -> Mapping[str, str] | Problem | bytes:
        """What the servers say; or why none says anything, or a server's own refusal. A cancellation leaves nothing."""
        attempt = self._attempt
        if self.latest is None and not self._closed:
            if attempt is None:
                attempt = self._attempt = _Attempt()
                self._wanted.set()
            await attempt.over.wait()
        if self.latest is not None:
            return self.latest
        return attempt.failure if attempt is not None else Problem(ProblemCode.SHUTTING_DOWN)

    def _over(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.over.set()

    async def _find_out(self) -> Problem | bytes | None:
        """Sets `latest`, or returns why not."""
        try:
            with trio.fail_after(self._timeout):
                said = await self._opener.introduce()
        except trio.TooSlowError:
            return Problem(ProblemCode.SERVER_UNREACHABLE, "it took too long")
        except LoginRefused as refused:
            return refused.raw or Problem(ProblemCode.SERVER_LOGIN_FAILED, str(refused))
        except (CodecError, OSError) as error:
            return Problem(ProblemCode.SERVER_UNREACHABLE, str(error))
        except Exception as error:  # noqa: BLE001 - an engine's fault: it costs this attempt, and not the pool
            self._report("".join(traceback.format_exception(error)))
            return Problem(ProblemCode.SERVER_UNREACHABLE, f"a fault of the program: {error!r}")
        if self.latest is None:  # a login may have told it meanwhile
            self.latest = said
        return None

"""What a target's servers say of themselves, for engines whose servers speak first (`questions.Introduce`).

The latest login has told it. Before the first one a connection is made for it, one for all who wait; none of them has
said who it is, so that nobody's name could be used for a login.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from rdsp.pool.opening import Opener
from rdsp_codecs.errors import CodecError, LoginRefused
from rdsp_codecs.problems import Problem, ProblemCode


class Introductions:
    """Of one target.

    Args:
        timeout: seconds for a connection.

    Attributes:
        latest: what was said last; None: nothing yet.
    """

    def __init__(self, opener: Opener, timeout: float) -> None:
        self._opener = opener
        self._timeout = timeout
        self._asking = trio.Lock()
        self.latest: Mapping[str, str] | None = None

    async def ask(self) -> Mapping[str, str] | Problem | bytes:
        """What the servers say; or why none says anything, or a server's own refusal. A cancellation leaves nothing."""
        async with self._asking:
            if self.latest is None:
                try:
                    with trio.fail_after(self._timeout):
                        said = await self._opener.introduce()
                except trio.TooSlowError:
                    return Problem(ProblemCode.SERVER_UNREACHABLE, "it took too long")
                except LoginRefused as refused:
                    return refused.raw or Problem(ProblemCode.SERVER_LOGIN_FAILED, str(refused))
                except (CodecError, OSError) as error:
                    return Problem(ProblemCode.SERVER_UNREACHABLE, str(error))
                if self.latest is None:  # a login may have told it meanwhile
                    self.latest = said
            return self.latest

"""A bell for one task: rung from steps, waited for by the session's own task, at no cost while nobody rings."""

from __future__ import annotations

import trio


class Bell:
    """Invariant: a ring is never lost; several rings before a wait count as one. One task waits at most."""

    __slots__ = ("_rung", "_task")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._rung = False

    def ring(self) -> None:
        """Wake the waiter, now or when it next waits. Never blocks; only from the Trio thread."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)
        else:
            self._rung = True

    async def wait(self) -> None:
        """Return once the bell was rung. A checkpoint. Cancellation leaves the bell usable and loses no ring."""
        if self._rung:
            await trio.lowlevel.checkpoint()
            self._rung = False
            return
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

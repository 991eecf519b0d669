from __future__ import annotations

import pytest

from rdsp.observe.dispatch import Observers
from rdsp.observe.events import Observer, SessionEnd

END = SessionEnd("the client requested that the connection close", "client")
HOOKS = [name for name in vars(Observer) if not name.startswith("_")]


class Recorder(Observer):
    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def session_started(self, session: int, proxy: str, peer: str) -> None:
        self.seen.append((session, proxy, peer))

    def trouble(self, proxy: str, text: str) -> None:
        self.seen.append((proxy, text))


class Duck:
    """No `Observer`: has the one hook it wants."""

    def __init__(self) -> None:
        self.ended: list[SessionEnd] = []

    def session_ended(self, session: int, end: SessionEnd) -> None:
        self.ended.append(end)


class Broken(Recorder):
    def session_started(self, session: int, proxy: str, peer: str) -> None:
        super().session_started(session, proxy, peer)
        raise ValueError("no more")

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def test_every_observer_that_has_a_hook_is_told() -> None:
    first, second, duck = Recorder(), Recorder(), Duck()
    observers = Observers([first, duck, second])
    observers.session_started(7, "default", "127.0.0.1:4000")
    observers.session_ended(7, END)
    assert first.seen == second.seen == [(7, "default", "127.0.0.1:4000")]
    assert duck.ended == [END]


def test_a_hook_that_nobody_has_stays_the_empty_method() -> None:
    observers = Observers([Recorder(), Duck()])
    bound = {hook for hook in HOOKS if hook in vars(observers)}
    assert bound == {"session_started", "trouble", "session_ended"}


def test_an_observer_that_raises_is_detached_counted_and_told_to_the_others() -> None:
    broken, healthy = Broken(), Recorder()
    observers = Observers([broken, healthy])
    observers.session_started(1, "default", "a")
    observers.session_started(2, "default", "b")
    assert broken.seen == [(1, "default", "a")]
    started = [one for one in healthy.seen if len(one) == 3]
    (told,) = [one[1] for one in healthy.seen if len(one) == 2]
    assert started == [(1, "default", "a"), (2, "default", "b")]
    assert "Broken failed and was detached: ValueError('no more')" in str(told)
    assert observers.failures == 1


def test_two_observers_that_are_equal_do_not_fall_together() -> None:
    """`Broken` says that it equals everything; what is detached is the one that raised."""

    class Calm(Broken):
        def session_started(self, session: int, proxy: str, peer: str) -> None:
            self.seen.append((session, proxy, peer))

    calm, broken = Calm(), Broken()
    observers = Observers([calm, broken])
    observers.session_started(1, "default", "a")
    observers.session_started(2, "default", "b")
    assert [one[0] for one in calm.seen if len(one) == 3] == [1, 2]
    assert observers.failures == 1


def test_observers_that_fail_at_being_told_of_a_failure_end_it() -> None:
    class Hopeless(Broken):
        def trouble(self, proxy: str, text: str) -> None:
            raise RuntimeError("me too")

    observers = Observers([Hopeless(), Hopeless(), Hopeless()])
    observers.session_started(1, "default", "a")
    assert observers.failures == 3
    assert not vars(observers).keys() & set(HOOKS)


def test_a_hook_that_would_have_to_be_awaited_is_refused_at_once() -> None:
    class Waiting:
        async def session_started(self, session: int, proxy: str, peer: str) -> None: ...

    with pytest.raises(TypeError, match=r"Waiting\.session_started is a coroutine function"):
        Observers([Waiting()])

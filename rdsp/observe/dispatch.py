"""Tell observers: each hook goes to those that have it, and one that raises harms nobody."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from rdsp.observe.events import Observer

_HOOKS = tuple(name for name in vars(Observer) if not name.startswith("_"))


class Observers(Observer):
    """All observers behind the face of one.

    Invariant: a hook is in an instance's dictionary, bound to its dispatcher, exactly when somebody has it; all others
    are `Observer`'s own, which do nothing. An observer that raised is told nothing more.

    Args:
        observers: any objects; what they have of `Observer`'s methods is called. A hook that is a coroutine function
            raises `TypeError`: events are told at once and waited for by nobody.
    """

    def __init__(self, observers: Sequence[object] = ()) -> None:
        self._observers = list(observers)
        self.failures = 0
        for observer in self._observers:
            for hook in _HOOKS:
                if inspect.iscoroutinefunction(getattr(observer, hook, None)):
                    msg = f"{type(observer).__name__}.{hook} is a coroutine function; hooks are plain functions"
                    raise TypeError(msg)
        self._bind()

    def _bind(self) -> None:
        for hook in _HOOKS:
            self.__dict__.pop(hook, None)
            listeners = [
                (observer, method)
                for observer in self._observers
                if (method := getattr(observer, hook, None)) is not None
                and getattr(method, "__func__", None) is not getattr(Observer, hook)
            ]
            if listeners:
                self.__dict__[hook] = self._dispatcher(listeners)

    def _dispatcher(self, listeners: list[tuple[object, Callable[..., None]]]) -> Callable[..., None]:
        def tell(*args: Any) -> None:
            for observer, method in listeners:
                try:
                    method(*args)
                except Exception as error:  # noqa: BLE001 - foreign code; it is detached and reported
                    self._detach(observer, error)

        return tell

    def _detach(self, observer: object, error: Exception) -> None:
        # By identity: what `==` means to an observer is its own affair. An observer may fail in several hooks at once.
        left = [one for one in self._observers if one is not observer]
        if len(left) == len(self._observers):
            return
        self.failures += 1
        self._observers = left
        self._bind()
        self.trouble("", f"the observer {type(observer).__name__} failed and was detached: {error!r}")

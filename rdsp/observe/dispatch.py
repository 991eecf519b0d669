"""Tell observers: each hook goes to those that override it, and one that raises harms nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rdsp.observe.events import Observer

_HOOKS = tuple(name for name in vars(Observer) if not name.startswith("_"))


class Observers(Observer):
    """All observers behind the face of one.

    Invariant: a hook is in an instance's dictionary, bound to its dispatcher, exactly when somebody overrides it. An
    observer that raised is told nothing more.
    """

    def __init__(self, observers: Sequence[object] = ()) -> None:
        self._observers = list(observers)
        self.failures = 0
        self._bind()

    def _bind(self) -> None:
        for hook in _HOOKS:
            self.__dict__.pop(hook, None)
            listeners = [
                (observer, getattr(observer, hook))
                for observer in self._observers
                if getattr(type(observer), hook, None) not in (None, getattr(Observer, hook))
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
        if observer not in self._observers:
            return
        self.failures += 1
        self._observers.remove(observer)
        self._bind()
        self.trouble("", f"the observer {type(observer).__name__} failed and was detached: {error!r}")

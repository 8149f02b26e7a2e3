"""Environment variables of single steps, in a process that several steps share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager


class _Turns:
    """Any number of steps at once, or one alone. A step that waits to be alone goes before those that come later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False
        self._waiting = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._alone and not self._inside)
                self._alone = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


_turns = _Turns()


def variables(wanted: Mapping[str, str]) -> AbstractContextManager[None]:
    """`os.environ` with these variables, as it was before afterwards.

    A process has one environment. So a step with variables of its own runs while no other step of this process does;
    steps without any run side by side.
    """
    return _changed(wanted) if wanted else _turns.shared()


@contextmanager
def _changed(wanted: Mapping[str, str]) -> Iterator[None]:
    with _turns.alone():
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

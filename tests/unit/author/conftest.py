"""A composer that records, for tests of everything that talks to one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.author.composer import composer
from penstock.author.handle import Handle
from penstock.author.invocations import InvocationIds
from penstock.author.step import Step


class Recorder:
    """Takes in calls like the engine does, and carries out none."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = []
        self._ids = InvocationIds()

    def submit(self, step: Step, args: Any, kwargs: Any, *, id: str | None, after: tuple[Any, ...]) -> Any:
        invocation = self._ids.allocate(step.name, id)
        self.calls.append((invocation, step.bind(args, kwargs), after))
        return step.handles(invocation, self)

    def load(self, handle: Handle) -> Any:
        return f"the value of {handle.step}.{handle.output}"


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A recorder that is the composer in force."""
    one = Recorder()
    token = composer.set(one)
    yield one
    composer.reset(token)

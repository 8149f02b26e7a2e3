"""What a deployer does behind its answers: one thing at a time for each deployment, by a thread, until it is done or unwanted."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.errors import EnvironmentFailed, PenstockError, Unavailable
from penstock.model.deployment import Plan

log = logging.getLogger("penstock.deployer")

PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before what could not be done is tried again; the last one again and again."""

_LINES = 500


class Superseded(Exception):
    """Something else is wanted by now."""


@dataclass
class Work:
    """What is being done for a deployment, by a thread of this process."""

    plan: Plan | None
    """None: it is being taken down."""

    before: Work | None
    reason: str | None = None
    """What goes on."""

    error: str | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    over: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises `Superseded` if somebody wants something else."""
        if self.over.is_set():
            raise Superseded

    def say(self, line: str) -> None:
        """Take in a line of a build."""
        self.check()
        self.lines.append(line)
        self.reason = f"building the image: {line[:200]}"


class Works:
    """The works of a deployer. One that has failed stays, with its error, until something else is wanted."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._works: dict[str, Work] = {}
        self._lock = threading.Lock()

    def get(self, deployment_id: str) -> Work | None:
        """What is being done for a deployment, or has failed."""
        return self._works.get(deployment_id)

    def begin(self, deployment_id: str, plan: Plan | None, do: Callable[[str, Work], None]) -> None:
        """Have a thread do this, as soon as what was being done for the deployment has ended. It is told to."""
        with self._lock:
            before = self._works.get(deployment_id)
            if before is not None:
                if plan is None and before.plan is None and not before.ended.is_set():
                    return  # it is being taken down already
                before.over.set()
            work = self._works[deployment_id] = Work(plan, before)
        arguments = (deployment_id, work, do)
        threading.Thread(target=self._work, args=arguments, name=f"penstock-{self._name}", daemon=True).start()

    def forget(self, deployment_id: str) -> None:
        """Let go of one that has failed."""
        with self._lock:
            work = self._works.get(deployment_id)
            if work is not None and work.ended.is_set():
                del self._works[deployment_id]

    def _work(self, deployment_id: str, work: Work, do: Callable[[str, Work], None]) -> None:
        if work.before is not None:
            work.before.ended.wait()
            work.before = None
        pauses = iter(PAUSES)
        while not work.over.is_set() and not _tried(deployment_id, work, do):
            work.over.wait(next(pauses, PAUSES[-1]))
        with self._lock:
            work.ended.set()
            failed = work.error is not None and not work.over.is_set()
            if not failed and self._works.get(deployment_id) is work:
                del self._works[deployment_id]


def _tried(deployment_id: str, work: Work, do: Callable[[str, Work], None]) -> bool:
    """Whether this was done, or is not to be tried again."""
    try:
        do(deployment_id, work)
        work.error = None
    except Superseded:
        pass
    except Unavailable as error:  # it may pass by itself
        work.error = error.detail
        return False
    except EnvironmentFailed as error:
        work.error = "\n".join([error.detail, *error.lines])
    except PenstockError as error:
        work.error = str(error)
    except Exception as error:
        log.exception("deployment %s", deployment_id)
        work.error = f"{type(error).__name__}: {error}"
    return True

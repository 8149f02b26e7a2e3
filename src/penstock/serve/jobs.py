"""One request on its way: from when it is let in until its result is there, whatever happens in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.errors import InvalidInput, RunCancelled, TimedOut
from penstock.ids import new_id
from penstock.model.run import Failure
from penstock.runtime import loops
from penstock.runtime.engine import Engine
from penstock.runtime.services import Outcome
from penstock.runtime.step import Heard
from penstock.runtime.tracebacks import failure
from penstock.serve.answers import as_json
from penstock.serve.inputs import Wanted
from penstock.serve.recording import Recording

if TYPE_CHECKING:
    from penstock.serve.service import Service

_RECORDED = 64 * 1024
"""Bytes of outputs that stand in the record of a run; larger ones are there by their types."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a request ended."""

    job: Job
    outputs: bytes
    """A JSON object, or `null`."""

    seconds: float
    error: Failure | None = None
    raised: BaseException | None = None

    @property
    def status(self) -> int:
        """The status of the answer."""
        if self.error is None:
            return 200
        if isinstance(self.raised, TimedOut) and self.raised is self.job.stopped:
            return 504
        return 422 if self.refused is not None else 500

    @property
    def refused(self) -> InvalidInput | None:
        """What is wrong with the values, where the types of the pipeline function said so itself."""
        raised = self.raised
        ours = isinstance(raised, InvalidInput) and self.error is not None and self.error.step is None
        return raised if ours and isinstance(raised, InvalidInput) else None


class Job:
    """A request that was let in. `stop` may be called at any time, from any thread."""

    def __init__(
        self,
        service: Service,
        wanted: Wanted,
        *,
        heard: Heard | None = None,
        id: str | None = None,
        later: bool = False,
    ) -> None:
        identity = id or new_id()
        self.wanted = wanted
        self.recording = Recording(identity, wanted.run_name or _name(service.pipeline_name, identity))
        self.recording.parameters, self.recording.origins = wanted.parameters, wanted.origins
        self.recording.tags = wanted.tags
        self.begun: float | None = None
        self._service = service
        self._heard = heard
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self.later = later
        """Nobody waits for the answer: it was submitted, and what is interrupted is begun again."""

        self.interrupted = False
        self.stopped: RunCancelled | TimedOut | None = None
        """Why it is to end before its end."""

    @property
    def id(self) -> str:
        """The id of the run that this is."""
        return self.recording.id

    def stop(self, error: RunCancelled | TimedOut) -> None:
        """End it because of `error`, whether it has begun or not."""
        with self._lock:
            self.stopped = self.stopped or error
            engine = self._engine
        if engine is not None:
            engine.cancel(error)

    def interrupt(self) -> None:
        """End it because the service ends."""
        self.interrupted = self.stopped is None
        self.stop(RunCancelled("The service is stopping."))

    def carry_out(self) -> Result:
        """Run the pipeline in this thread. Never raises."""
        service, recording = self._service, self.recording
        self.begun = begun = time.perf_counter()
        loops.home.set(service.loop)
        recording.write("run_started", metadata=service.facts)
        with recording.step(None):
            outcome = self._outcome()
        outputs, outcome = _written(outcome)
        if outcome.error is None:
            recording.write("run_completed", values=_recorded(outputs, outcome.outputs or {}))
        else:
            recording.write("run_failed", error=outcome.error)
        return Result(self, outputs, time.perf_counter() - begun, outcome.error, outcome.raised)

    def _outcome(self) -> Outcome:
        try:
            with self._lock:
                if self.stopped is not None:
                    raise self.stopped
                engine = self._engine = self._service.engine(self.wanted, self.recording, self._heard)
            return engine.carry_out(self._service.pipeline)
        except BaseException as error:  # noqa: BLE001  # the thread must live on
            return Outcome(None, failure(error), error)


def _written(outcome: Outcome) -> tuple[bytes, Outcome]:
    """The outputs as they are answered. What cannot be written down is a failure like another."""
    if outcome.error is not None:
        return b"null", outcome
    try:
        return as_json(outcome.outputs), outcome
    except Exception as error:  # noqa: BLE001  # objects of users may do anything when they are looked at
        return b"null", Outcome(None, failure(error), error)


def _recorded(outputs: bytes, values: Mapping[str, Any]) -> Any:
    if len(outputs) <= _RECORDED:
        return msgspec.Raw(outputs)
    return {name: {"type": f"{type(one).__module__}.{type(one).__qualname__}"} for name, one in values.items()}


def _name(pipeline: str, identity: str) -> str:
    return f"{pipeline}-{_moment(int(time.time()))}-{identity[-12:]}"


@lru_cache(maxsize=1)
def _moment(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%m%d-%H%M%S}"

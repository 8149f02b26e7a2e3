"""The endpoints of every service."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from penstock.errors import InvalidInput, MalformedRequest, Unavailable, fault
from penstock.ids import is_id
from penstock.model.deployment_settings import PATHS, DeploymentSettings
from penstock.model.strict_json import loads
from penstock.model.trial import MIRROR_OF, Seat, TrialOrder
from penstock.serve import answers
from penstock.serve.backlog import Backlog
from penstock.serve.contest import Contest
from penstock.serve.jobs import Job, Result
from penstock.serve.messages import Handler, body_of, left, respond
from penstock.serve.score import Score, Scoreboard
from penstock.serve.service import Service
from penstock.serve.submit import Submit


class Endpoints:
    """`/invoke` with `/invoke/stream` and `/invoke/batch`, `/submit`, `/health`, `/ready`, `/info`, `/metrics`.

    `directory` is where submitted requests are kept.
    """

    def __init__(self, settings: DeploymentSettings, directory: Path) -> None:
        self._settings = settings
        self._directory = directory
        self._backlog: Backlog | None = None
        self._service: Service | None = None
        self._gone = settings.on_disconnect == "cancel"
        self._about: dict[str, Any] = {}
        self._seat: Seat | None = None
        self.contest: Contest | None = None
        """The trial that is on."""

    def bind(self, service: Service) -> None:
        """From now on these requests are for this service."""
        plan = service.plan
        names = plan.snapshot.names
        self._seat = seat = plan.seat
        self._about = {
            "deployment_id": plan.deployment_id if seat is None else seat.deployment_id,
            "deployment_name": plan.deployment_name if seat is None else seat.deployment_name,
            "snapshot_id": plan.snapshot.id,
            "snapshot_name": names[0] if names else None,
            "pipeline_name": service.pipeline_name,
        }
        if "SUBMIT" in self._settings.include_default_endpoints:
            self._backlog = Backlog(service, self._directory / "submitted", self.envelope)
            self._backlog.start()
        service.measures.registry.register(Scoreboard(self._standing))
        self._service = service

    def _standing(self) -> tuple[TrialOrder, Score, bool] | None:
        return None if self.contest is None else self.contest.standing

    def leave(self) -> None:
        """Take nothing more."""
        if self._service is not None:
            self._service.leave()
        if self._backlog is not None:
            self._backlog.leave()

    async def close(self) -> None:
        """Return when all that was submitted and begun is written down."""
        if self._backlog is not None:
            await self._backlog.close()

    def table(self) -> dict[str, dict[str, tuple[Handler, bool]]]:
        """Path -> method -> what answers, and whether a key is needed for it."""
        said = self._settings
        own = {(f"{said.root_url_path}{one.path}", one.method) for one in said.custom_endpoints}
        root, wanted = said.root_url_path, said.include_default_endpoints
        invoke = said.path("invoke")
        rows: list[tuple[str, str, str, Handler, bool]] = [
            ("INVOKE", "POST", invoke, self._invoke, True),
            ("INVOKE", "POST", f"{invoke}/stream", self._stream, True),
            ("INVOKE", "POST", f"{invoke}/batch", self._batch, True),
            *Submit(said, self._submitted).rows(),
            ("HEALTH", "GET", said.path("health"), self._health, False),
            ("HEALTH", "GET", f"{root}{said.api_url_path}/ready", self._ready, False),
            ("INFO", "GET", said.path("info"), self._info, False),
            ("METRICS", "GET", said.path("metrics"), self._metrics, False),
        ]
        found: dict[str, dict[str, tuple[Handler, bool]]] = {}
        for group, method, path, handler, guarded in rows:
            if group in wanted and (path, method) not in own:
                found.setdefault(path, {})[method] = (handler, guarded)
        return found

    @property
    def service(self) -> Service:
        """The service. Raises `Unavailable` while there is none."""
        if self._service is None:
            raise Unavailable("This service is starting.")
        return self._service

    def _submitted(self) -> Backlog:
        if self._backlog is None:
            raise Unavailable("This service is starting.")
        return self._backlog

    # Requests

    async def _invoke(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await body_of(receive, self._settings.max_body)
        if self.contest is not None:
            await self.contest.invoke(scope, receive, send, body)
            return
        result = await self.own(scope, body, receive)
        await respond(send, result.status, answers.JSON, self.envelope(result))

    async def own(self, scope: Scope, body: bytes, receive: Receive) -> Result:
        """Carry out a request here. Raises what refuses it."""
        service = self.service
        job = Job(service, service.inputs.read(body))
        if self._seat is not None:
            job.recording.mirror_of = _copied(scope)
        result = await service.answered(job, partial(left, receive) if self._gone else None)
        if result.refused is not None:
            raise result.refused
        return result

    @property
    def heeds_callers(self) -> bool:
        """Whether work is stopped whose caller hangs up."""
        return self._gone

    @property
    def snapshot_id(self) -> str:
        """What is served."""
        return str(self._about["snapshot_id"])

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Server-sent events: an `item` for each item of a step that yields, and at the end the `result`."""
        service, loop = self.service, asyncio.get_running_loop()
        wanted = service.inputs.read(await body_of(receive, self._settings.max_body))
        items: asyncio.Queue[bytes | None] = asyncio.Queue()

        def heard(step: str, output: str, index: int, item: Any) -> None:
            told = answers.as_json({"step": step, "output": output, "index": index, "value": item})
            loop.call_soon_threadsafe(items.put_nowait, _event("item", told))

        job = Job(service, wanted, heard=heard)
        working = loop.create_task(service.answered(job, partial(left, receive)))
        working.add_done_callback(lambda _: items.put_nowait(None))
        begun = False
        while (told := await items.get()) is not None:
            if not begun:
                begun = await _begin(send)
            await send({"type": "http.response.body", "body": told, "more_body": True})
        result = working.result()  # raises what kept it from being let in: then nothing was sent
        if result.refused is not None and not begun:
            raise result.refused
        begun = begun or await _begin(send)
        await send({"type": "http.response.body", "body": _event("result", self.envelope(result))})

    async def _batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Several requests in one: each is a run, and has its own result at its own place."""
        service = self.service
        body = await body_of(receive, self._settings.max_body)
        given = _requests(body, self._settings.max_batch)
        faults, wanted = [], []
        for index, one in enumerate(given):
            try:
                wanted.append(service.inputs.checked(one, at=("requests", index)))
            except InvalidInput as error:
                faults += error.errors
        if faults:
            raise InvalidInput("The requests do not fit what this service takes; nothing was started.", errors=faults)
        gone = asyncio.Event()
        watching = asyncio.create_task(_set_when_left(receive, gone)) if self._gone else None
        tasks = [
            asyncio.create_task(service.answered(Job(service, one), gone.wait if self._gone else None))
            for one in wanted
        ]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if watching is not None:
            watching.cancel()
        refused = next((one for one in results if isinstance(one, BaseException)), None)
        if refused is not None and all(isinstance(one, BaseException) for one in results):
            raise refused
        told = [self.envelope(one) if isinstance(one, Result) else self._not_begun(one) for one in results]
        await respond(send, 200, answers.JSON, b'{"results":[' + b",".join(told) + b"]}")

    def envelope(self, result: Result) -> bytes:
        """What is answered for one request that was carried out."""
        recording, error = result.job.recording, result.error
        metadata = {
            **self._about,
            "run_id": recording.id,
            "run_name": recording.name,
            "parameters_used": recording.parameters,
        }
        told = {
            "success": error is None,
            "outputs": msgspec.Raw(result.outputs),
            "execution_time": result.seconds,
            "metadata": metadata,
            "error": None,
        }
        if error is not None:
            told |= self._failure(result)
        return msgspec.json.encode(told)

    def _failure(self, result: Result) -> dict[str, Any]:
        error, told = result.error, self._settings.errors
        assert error is not None
        mask = result.job.recording.masked
        if told == "none":
            return {"error": "The pipeline failed."}
        where = f"Step {error.step} failed: " if error.step else ""
        failure = {"type": error.type, "message": mask(error.message), "step": error.step}
        if told == "traceback":
            failure["traceback"] = mask(error.traceback)
        return {"error": f"{where}{error.type}: {mask(error.message)}", "failure": failure}

    def _not_begun(self, error: BaseException) -> bytes:
        return msgspec.json.encode({"success": False, "outputs": None, "metadata": self._about, "error": str(error)})

    # How it goes

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, 200, answers.JSON, b'{"status":"ok"}')

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        ready = service is not None and service.ready and not service.draining
        told = b'{"status":"ready"}' if ready else b'{"status":"not ready"}'
        await respond(send, 200 if ready else 503, answers.JSON, told)

    async def _info(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, said = self.service, self._settings
        plan, measures, content = service.plan, service.measures, service.plan.snapshot.content
        told = {
            "deployment": {
                "id": plan.deployment_id,
                "name": plan.deployment_name,
                "revision": plan.revision,
                "auth_enabled": plan.auth,
            },
            "snapshot": {"id": plan.snapshot.id, "name": self._about["snapshot_name"]},
            "pipeline": {
                "name": content.pipeline,
                "description": content.description,
                "parameters": content.given.parameters,
                "input_schema": content.parameter_schema,
                "output_schema": content.output_schema,
            },
            "app": {f"{name}_url_path": said.path(name) for name in PATHS},
            "status": "ready" if service.ready and not service.draining else "draining",
            "total_executions": measures.total,
            "failed_executions": measures.failed,
            "open_requests": service.busy,
            "last_execution_time": measures.last,
            "uptime": time.time() - measures.started,
        }
        await respond(send, 200, answers.JSON, msgspec.json.encode(told))

    async def _metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self.service
        service.measures.open.set(service.busy)
        await respond(
            send, 200, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")], service.measures.text()
        )


def _copied(scope: Scope) -> str | None:
    """The run that a request is a copy of. Only the deployment of a companion gets this far there."""
    name = MIRROR_OF.encode()
    told = next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
    return told if is_id(told) else None


def _requests(body: bytes, most: int) -> list[Any]:
    try:
        given = loads(body)
    except ValueError as error:
        raise MalformedRequest(f"The body is no JSON: {error}.") from None
    requests = given.get("requests") if isinstance(given, dict) else None
    if not isinstance(requests, list) or set(given) != {"requests"}:
        mistake = fault("/requests", "Expected a list of requests, and nothing besides.", allowed=("requests",))
        raise InvalidInput("A batch is {'requests': [{'parameters': {...}}, ...]}.", errors=[mistake])
    if not 1 <= len(requests) <= most:
        mistake = fault("/requests", f"There are {len(requests)}; a batch has from 1 to {most}.")
        raise InvalidInput("This batch is empty, or too large.", errors=[mistake])
    return requests


async def _set_when_left(receive: Receive, gone: asyncio.Event) -> None:
    await left(receive)
    gone.set()


async def _begin(send: Send) -> bool:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"x-accel-buffering", b"no")]})
    return True


def _event(kind: str, data: bytes) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

"""`/submit`: requests that are answered when they are safe on the disk, and looked after by their id."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from penstock.errors import InvalidInput
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.idempotency import in_headers
from penstock.model.preference import preferred_wait
from penstock.serve import answers
from penstock.serve.backlog import ENDED, Backlog
from penstock.serve.messages import Handler, body_of, respond
from penstock.serve.submissions import Submission


class Submit:
    """`POST /submit`, `GET /submit/{id}` and `POST /submit/{id}/cancel`."""

    def __init__(self, settings: DeploymentSettings, backlog: Callable[[], Backlog]) -> None:
        self._settings = settings
        self._path = settings.path("submit")
        self._backlog = backlog

    def rows(self) -> list[tuple[str, str, str, Handler, bool]]:
        """Group, method, path, what answers, and whether a key is needed."""
        return [
            ("SUBMIT", "POST", self._path, self._submit, True),
            ("SUBMIT", "GET", f"{self._path}/*", self._look, True),
            ("SUBMIT", "POST", f"{self._path}/*/cancel", self._cancel, True),
        ]

    async def _submit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        once = in_headers(headers)
        if once is not None and (once.until is not None or once.on_conflict != "join"):
            raise InvalidInput(
                "A key holds here for as long as its request is remembered, and joins it while it goes on."
            )
        body = await body_of(receive, self._settings.max_body)
        backlog = self._backlog()
        backlog.check(body)
        found, new = await backlog.accept(body, once.key if once is not None else None)
        told = "created" if new else "replayed" if found.state in ENDED else "joined"
        found = await self._waited(headers, found)
        more = [(b"idempotency-result", told.encode()), (b"location", f"{self._path}/{found.id}".encode())]
        await respond(send, 200 if found.state in ENDED else 202, [*answers.JSON, *more], document(found))

    async def _look(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = await self._backlog().look(_id(scope), preferred_wait(_headers(scope).get("prefer", "")))
        await respond(send, 200, answers.JSON, document(found))

    async def _cancel(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = await self._waited(_headers(scope), await self._backlog().cancel(_id(scope)))
        await respond(send, 200 if found.state in ENDED else 202, answers.JSON, document(found))

    async def _waited(self, headers: dict[str, str], found: Submission) -> Submission:
        wait = preferred_wait(headers.get("prefer", ""))
        return await self._backlog().look(found.id, wait) if wait else found


def document(found: Submission) -> bytes:
    """What is said of a submitted request."""
    told: dict[str, Any] = {
        "run_id": found.id,
        "state": "cancelling" if found.cancelling and found.state == "running" else found.state,
        "submitted": _moment(found.submitted),
        "started": _moment(found.started),
        "ended": _moment(found.ended),
        "attempts": found.attempts,
        "status": found.status,
        "result": None if found.result is None else msgspec.Raw(found.result),
    }
    return msgspec.json.encode(told)


def _id(scope: Scope) -> str:
    return str(scope["path_params"]["id"])


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)

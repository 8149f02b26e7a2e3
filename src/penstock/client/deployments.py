"""Deployments: pipelines that are kept warm behind HTTP."""

from __future__ import annotations

import builtins
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

import msgspec

from penstock.client.connection import Connection, given, path
from penstock.client.page import Page
from penstock.client.transport import Transport
from penstock.errors import Conflict, Unavailable
from penstock.model.deployment import (
    Deployment,
    DeploymentKey,
    DeploymentLogs,
    DeploymentManifests,
    DeploymentState,
    NewDeployment,
    NewDeploymentKey,
    Revision,
)
from penstock.model.deployment_settings import DeploymentSettings

_LOOK = 20.0
"""Seconds for which one question waits for the end of a submitted request."""

PATIENCE = 600.0
"""Seconds that a deployment may take to come up or to go, if the caller says nothing else."""


@dataclass(frozen=True)
class Invocation:
    """The answer of a deployment to one request. Anything else that it says is in `metadata`."""

    success: bool
    outputs: dict[str, Any] | None
    metadata: dict[str, Any]
    execution_time: float = 0.0
    error: str | None = None
    failure: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A request that a deployment has accepted, as it stands; `run_id` is how it is found again."""

    run_id: str
    state: str
    """`queued`, `running`, `cancelling`, `completed`, `failed` or `cancelled`."""

    submitted: datetime
    started: datetime | None = None
    ended: datetime | None = None
    attempts: int = 0
    """How often it was begun: more than once if a process of the service died."""

    status: int | None = None
    """What `invoke` would have been answered with, and `result` its body."""

    result: dict[str, Any] | None = None

    @property
    def outputs(self) -> dict[str, Any] | None:
        """What the pipeline returned, once it has."""
        return None if self.result is None else self.result.get("outputs")


class DeploymentOptions(TypedDict, total=False):
    """What can be said of a deployment. What is None stays as it is, or is as the pipeline says."""

    settings: DeploymentSettings | Mapping[str, Any] | None
    deployer: str | None
    """The flavor; by default that of the stack, or `local`."""

    deployer_options: Mapping[str, Any]
    tags: Sequence[str]
    update: bool
    generate_auth_key: bool
    """Have callers need a key; its text is in the answer and nowhere else."""

    auth_key: str | None
    """The same with a key of one's own."""


class Deployments:
    """The deployments of an installation. A `ref` is an id or a name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self, name: str, *, snapshot: str | None = None, pipeline: str | None = None, **said: Unpack[DeploymentOptions]
    ) -> NewDeployment:
        """Deploy a snapshot, or the latest of a pipeline. With `update` one of this name may be there: it gets a revision.

        Returns at once; `wait` waits until it runs. A `key` that was made stands in the answer and nowhere else.
        """
        body = given(name=name, snapshot=snapshot, pipeline=pipeline, **said)
        return self._connection.fetch(NewDeployment, "POST", "/deployments", json=body)

    def get(self, ref: str) -> Deployment:
        """The deployment as it stands. Raises `NotFound`."""
        return self._connection.fetch(Deployment, "GET", path("deployments", ref))

    def list(
        self,
        *,
        name: str | None = None,
        pipeline: str | None = None,
        state: DeploymentState | str | None = None,
        size: int = 20,
        cursor: str | None = None,
    ) -> Page[Deployment]:
        """One page of deployments, newest first."""
        query = {"name": name, "pipeline": pipeline, "state": state, "size": size, "cursor": cursor}
        return self._connection.fetch(Page[Deployment], "GET", "/deployments", query=query)

    def wait(self, ref: str, timeout: float = PATIENCE) -> Deployment:
        """The deployment when it is as it is wanted. Raises `Conflict` if it cannot be, and `TimeoutError`."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.get(ref)
            if found.state == found.wanted:
                return found
            if found.state is DeploymentState.ERROR:
                raise Conflict(f"Deployment {found.name} does not come up: {found.reason}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"Deployment {found.name} is still {found.state} after {timeout:g} s.")
            time.sleep(0.1)  # the server offers no event for this

    def provision(self, ref: str, *, timeout: float | None = PATIENCE) -> Deployment:
        """Have it run; return when it does, or at once without a `timeout`."""
        found = self._connection.fetch(Deployment, "POST", path("deployments", ref, "provision"))
        return found if timeout is None else self.wait(found.id, timeout)

    def deprovision(self, ref: str, *, timeout: float | None = PATIENCE) -> Deployment:
        """Take it down; return when it is, or at once without a `timeout`."""
        found = self._connection.fetch(Deployment, "POST", path("deployments", ref, "deprovision"))
        return found if timeout is None else self.wait(found.id, timeout)

    def roll_back(self, ref: str, *, to: int | None = None, timeout: float | None = PATIENCE) -> Deployment:
        """Serve again what was served before, or under the number `to`."""
        found = self._connection.fetch(Deployment, "POST", path("deployments", ref, "rollback"), json=given(to=to))
        return found if timeout is None else self.wait(found.id, timeout)

    def delete(self, ref: str, *, force: bool = False) -> None:
        """Take it down and remove its record; with `force` the record goes now."""
        query = {"force": "true"} if force else None
        self._connection.send("DELETE", path("deployments", ref), query=query)

    def revisions(self, ref: str) -> builtins.list[Revision]:
        """What it has served, newest first."""
        return self._connection.fetch(builtins.list[Revision], "GET", path("deployments", ref, "revisions"))

    def logs(self, ref: str, *, tail: int = 200) -> tuple[str, ...]:
        """The last lines that its service has printed."""
        found = self._connection.fetch(DeploymentLogs, "GET", path("deployments", ref, "logs"), query={"tail": tail})
        return found.lines

    def manifests(self, ref: str) -> tuple[dict[str, Any], ...]:
        """The objects that it consists of, where it is in a cluster. Raises `Conflict` where it is somewhere else.

        Placeholders stand for credentials, and for an image that is to be built.
        """
        found = self._connection.fetch(DeploymentManifests, "GET", path("deployments", ref, "manifests"))
        return found.manifests

    def follow(self, ref: str, *, tail: int = 200) -> Iterator[str]:
        """The last lines, and then what comes, without end."""
        seen = self.logs(ref, tail=tail)
        yield from seen
        while True:
            time.sleep(0.5)  # the log of a service has no event
            now = self.logs(ref, tail=2000)
            yield from _new_lines(seen, now)
            seen = now

    def create_key(self, ref: str, name: str) -> NewDeploymentKey:
        """A key for callers, who need one from now on. Its text stands in the answer and nowhere else."""
        return self._connection.fetch(NewDeploymentKey, "POST", path("deployments", ref, "keys"), json={"name": name})

    def keys(self, ref: str) -> builtins.list[DeploymentKey]:
        """The keys, oldest first; never their texts."""
        return self._connection.fetch(builtins.list[DeploymentKey], "GET", path("deployments", ref, "keys"))

    def rotate_key(self, ref: str, name: str, *, retain_minutes: float = 0) -> NewDeploymentKey:
        """A new text for a key; the old one holds for `retain_minutes` more."""
        where, body = path("deployments", ref, "keys", name, "rotate"), {"retain_minutes": retain_minutes}
        return self._connection.fetch(NewDeploymentKey, "POST", where, json=body)

    def revoke_key(self, ref: str, name: str) -> None:
        """Put a key out of force."""
        self._connection.send("DELETE", path("deployments", ref, "keys", name))

    def invoke(
        self, ref: str, parameters: Mapping[str, Any] | None = None, *, key: str | None = None, timeout: float = 300.0
    ) -> Invocation:
        """Ask a deployment; the answer with its outputs.

        Raises `RunFailed` with the words of the step that failed, and what the service refuses as the error that it names.
        """
        asked = {"parameters": dict(parameters or {})}
        with self._service(ref, key, timeout) as (transport, settings):
            answer = transport.request("POST", "/" + settings.path("invoke"), json=asked)
        return msgspec.convert(answer.json(), Invocation)

    def submit(
        self,
        ref: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
    ) -> Submission:
        """Have a deployment accept a request, which it carries out later, whatever becomes of its process or of ours.

        Sent again with the same `idempotency_key`, it is the same request. Raises `InvalidInput` for values that do not fit,
        and `Unavailable` if too many wait.
        """
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        asked = {"parameters": dict(parameters or {})}
        with self._service(ref, key) as (transport, settings):
            answer = transport.request("POST", "/" + settings.path("submit"), json=asked, headers=headers)
        return msgspec.convert(answer.json(), Submission)

    def submission(self, ref: str, run_id: str, *, key: str | None = None, wait: float = 0.0) -> Submission:
        """How a submitted request stands; with `wait`, when it has ended, but within these seconds.

        Raises `NotFound` for one that ended too long ago.
        """
        deadline = time.monotonic() + wait
        with self._service(ref, key, _LOOK + 30) as (transport, settings):
            where = "/" + settings.path("submit") + path(run_id)
            while True:
                left = max(0.0, deadline - time.monotonic())
                headers = {"Prefer": f"wait={min(left, _LOOK):.3f}"}
                found = msgspec.convert(transport.request("GET", where, headers=headers).json(), Submission)
                if found.ended is not None or left <= 0:
                    return found

    def cancel_submission(self, ref: str, run_id: str, *, key: str | None = None) -> Submission:
        """Have a submitted request end; one that has ended stays as it is. Raises `NotFound`."""
        with self._service(ref, key) as (transport, settings):
            where = "/" + settings.path("submit") + path(run_id, "cancel")
            return msgspec.convert(transport.request("POST", where).json(), Submission)

    @contextmanager
    def _service(
        self, ref: str, key: str | None, timeout: float = 30.0
    ) -> Iterator[tuple[Transport, DeploymentSettings]]:
        """The way to the service of a deployment. Raises `Unavailable` if it has no address."""
        found = self.get(ref)
        if found.url is None:
            raise Unavailable(f"Deployment {found.name} is {found.state}: it has no address now.")
        with closing(Transport(found.url, key, timeout=timeout)) as transport:
            yield transport, found.settings


def _new_lines(seen: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    """What stands in `now` after what was `seen` last."""
    for end in range(len(now) if seen else 0, 0, -1):
        common = now[max(0, end - len(seen)) : end]
        if common == seen[-len(common) :]:
            return now[end:]
    return now

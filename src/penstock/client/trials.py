"""Trials: what a deployment may serve next, tried on copies of its requests or on a share of them."""

from __future__ import annotations

import builtins
import time
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from penstock.client.connection import Connection, given, path
from penstock.client.deployments import PATIENCE, Deployments
from penstock.errors import Conflict
from penstock.model.deployment import Deployment
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.likeness import Comparing
from penstock.model.trial import ENDED, Rule, Trial, TrialReport, TrialState


class Candidate(TypedDict, total=False):
    """What is tried: a snapshot, by id or name, or the latest of a pipeline; by default of the one that is served."""

    snapshot: str | None
    pipeline: str | None
    settings: DeploymentSettings | Mapping[str, Any] | None


class Trials:
    """The trials of deployments; of each, one at a time. A `ref` is an id or a name of a deployment."""

    def __init__(self, connection: Connection, deployments: Deployments) -> None:
        self._connection = connection
        self._deployments = deployments

    def mirror(
        self,
        ref: str,
        *,
        share: float = 0.1,
        comparing: Comparing | Mapping[str, Any] | None = None,
        **candidate: Unpack[Candidate],
    ) -> Trial:
        """Show a candidate copies of this share of the requests, and compare its answers, which no caller sees.

        Its steps are carried out for real. Returns at once. Raises `Conflict` if a trial goes on.
        """
        return self._start(ref, candidate, kind="mirror", share=share, comparing=comparing)

    def canary(
        self,
        ref: str,
        *,
        share: float = 0.1,
        rule: Rule | Mapping[str, Any] | None = None,
        **candidate: Unpack[Candidate],
    ) -> Trial:
        """Have a candidate answer this share of the requests, until it is promoted, aborted, or rolled back by its rule."""
        return self._start(ref, candidate, kind="canary", share=share, rule=rule)

    def _start(self, ref: str, candidate: Candidate, **said: Any) -> Trial:
        body = given(**said, **candidate)
        if "snapshot" not in body and "pipeline" not in body:
            body["pipeline"] = self._deployments.get(ref).pipeline_name
        return self._connection.fetch(Trial, "POST", path("deployments", ref, "trial"), json=body)

    def get(self, ref: str) -> TrialReport:
        """The trial that goes on, or else the last one, with what came of it. Raises `NotFound` if there never was one."""
        return self._connection.fetch(TrialReport, "GET", path("deployments", ref, "trial"))

    def list(self, ref: str) -> builtins.list[Trial]:
        """What was tried, and how that ended, newest first."""
        return self._connection.fetch(builtins.list[Trial], "GET", path("deployments", ref, "trials"))

    def wait(self, ref: str, timeout: float = PATIENCE) -> Trial:
        """The trial once its candidate is up. Raises `Conflict` if it does not come up or the trial is over, `TimeoutError`."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.get(ref).trial
            if found.state in ENDED:
                raise Conflict(f"The trial is over: {found.state}. {found.reason or ''}".rstrip())
            if found.state is TrialState.ERROR:
                raise Conflict(f"The candidate does not come up: {found.reason}")
            if found.state is not TrialState.STARTING:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"The candidate is not up after {timeout:g} s.")
            time.sleep(0.1)  # the server offers no event for this

    def set_share(self, ref: str, share: float) -> Trial:
        """Send another share of the requests to the candidate from now on."""
        return self._connection.fetch(Trial, "PATCH", path("deployments", ref, "trial"), json={"share": share})

    def promote(self, ref: str, *, timeout: float | None = PATIENCE) -> Deployment:
        """Make the candidate the deployment's next revision; return when it serves, or at once without a `timeout`."""
        found = self._connection.fetch(Deployment, "POST", path("deployments", ref, "trial", "promote"))
        return found if timeout is None else self._deployments.wait(found.id, timeout)

    def abort(self, ref: str) -> Trial:
        """End the trial: what served before answers everything."""
        return self._connection.fetch(Trial, "POST", path("deployments", ref, "trial", "abort"))

"""The tender: sees to it that each deployment is as it is wanted, and writes down how it stands."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from penstock.control import deployments as control
from penstock.control import trials
from penstock.control.background import Background
from penstock.control.installation import Installation, now
from penstock.errors import PenstockError
from penstock.model.deployment import Deployment, DeploymentState, Standing
from penstock.model.stack import Component
from penstock.stack.contracts import Deployer
from penstock.store import deployments, duties

log = logging.getLogger("penstock.tender")

LOOK = 2.0
"""Seconds after which deployments are looked at even if nobody rang."""

SOON = 0.1
"""The same while one of them is coming up or going down."""


LEASE = timedelta(seconds=15)
"""For how long a server has the duty; another one takes it over when this is through."""


class Tender(Background):
    """One thread. Of several servers on one database one has the duty; all that is done may be done twice.

    The duty goes with the home, not with the process: its next start goes on at once, before others take over.
    """

    def __init__(self, installation: Installation, deployers: Callable[[Component], Deployer]) -> None:
        super().__init__(installation, "tender", (control.CHANGED,))
        self._deployers = deployers
        self._told: dict[str, datetime] = {}
        self._renew = now()

    def _work(self) -> None:
        with self._installation.bell.subscribe(control.CHANGED) as rung:
            while not self._leaving.is_set():
                self.beat = time.monotonic()
                moving = False
                try:
                    moving = self.tend()
                except PenstockError as error:  # the store is away or full
                    log.warning("deployments could not be seen to: %s", error.detail)
                except Exception:  # the thread must live on
                    log.exception("seeing to deployments failed")
                rung.wait(SOON if moving else LOOK)

    def tend(self) -> bool:
        """See to every deployment once; whether one of them is on its way somewhere."""
        if not self._on_duty():
            return False
        with self._installation.db.read() as session:
            known = deployments.tended(session)
        moving = [self._safely(one, applied) for one, applied in known]
        trials.settle(self._installation)
        return any(moving)

    def _on_duty(self) -> bool:
        here, at = self._installation, now()
        if here.db.one_writer or at < self._renew:
            return True
        with here.db.write() as session:
            mine = duties.take(session, "tender", f"home{here.place}", at, at + LEASE)
        self._renew = at + LEASE / 3 if mine else at
        return mine

    def _safely(self, known: Deployment, applied: datetime | None) -> bool:
        try:
            return self._see_to(known, applied)
        except PenstockError as error:
            log.warning("deployment %s: %s", known.name, error.detail)
            state = DeploymentState.ERROR if known.wanted == "running" else known.state
            self._write(known, Standing(state=state, reason=str(error), url=known.url, inner_url=known.inner_url))
        except Exception:  # one of them must not stop all others
            log.exception("deployment %s could not be seen to", known.name)
        return False

    def _see_to(self, known: Deployment, applied: datetime | None) -> bool:
        deployer = self._deployers(known.deployer)
        standing = deployer.state(known.id)
        if known.wanted != "running":
            return self._take_down(known, deployer, standing)
        new = applied != known.updated
        if (new and self._told.get(known.id) != known.updated) or standing.state is DeploymentState.ABSENT:
            with self._installation.db.read() as session:
                plan = control.plan(session, self._installation, known)
            deployer.apply(plan)
            self._told[known.id] = known.updated
            standing = deployer.state(known.id)
        if new and standing.held:  # until then, whoever tends it after us must tell its deployer again
            with self._installation.db.write() as session:
                deployments.applied(session, known.id, known.updated)
        if standing.state is DeploymentState.ABSENT or standing.revision not in (known.revision, None):
            standing = replace(standing, state=DeploymentState.PENDING)
        self._write(known, standing)
        return standing.state is DeploymentState.PENDING

    def _take_down(self, known: Deployment, deployer: Deployer, standing: Standing) -> bool:
        if standing.state is not DeploymentState.ABSENT:
            deployer.remove(known.id)
            standing = deployer.state(known.id)
        gone = standing.state is DeploymentState.ABSENT
        if gone and known.wanted == "deleted":
            deployer.remove(known.id)  # what is left on the disk
            with self._installation.db.write() as session:
                deployments.remove(session, known.id)
            self._told.pop(known.id, None)
            return False
        self._write(known, Standing(state=standing.state, reason=standing.reason) if gone else standing)
        return not gone

    def _write(self, known: Deployment, standing: Standing) -> None:
        seen = (known.state, known.reason, known.url, known.inner_url)
        if seen == (standing.state, standing.reason, standing.url, standing.inner_url):
            return
        with self._installation.db.write() as session:
            deployments.see(session, known.id, standing)
        self._installation.bell.ring(known.id)

"""The application: everything is wired here, and handed to whoever needs it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from penstock.control import audit, journal, stacks
from penstock.control.bell import Bell
from penstock.control.deliverer import Deliverer
from penstock.control.dispatcher import Dispatcher
from penstock.control.installation import Installation, now
from penstock.control.lineage import Lineage
from penstock.control.reaper import Reaper
from penstock.control.retention import Sweeper
from penstock.control.tender import Tender
from penstock.control.tokens import Signer, load_secret
from penstock.ids import new_id
from penstock.model.launch import place_of
from penstock.model.stack import Component
from penstock.model.trace import Traces, traces
from penstock.server import problems
from penstock.server.browsers import CORS_EXPOSED, CORS_HEADERS, SafeHeaders, origins
from penstock.server.description import Application
from penstock.server.edge import Edge
from penstock.server.hosts import Hosts
from penstock.server.noun import API, operation_id
from penstock.server.proxies import Proxies
from penstock.server.rates import Rates
from penstock.server.routes import (
    artifacts,
    bulk,
    callbacks,
    code,
    decisions,
    deployments,
    devices,
    health,
    login,
    pipeline_snapshots,
    pipelines,
    run_templates,
    runs,
    server,
    service_accounts,
    sessions,
    step_runs,
    trials,
    trusts,
    users,
)
from penstock.server.routes import (
    audit as audit_routes,
)
from penstock.server.routes import (
    stacks as stack_routes,
)
from penstock.server.watching import Watch
from penstock.settings import Settings
from penstock.stack.contracts import ArtifactStore, Deployer, Launcher
from penstock.stack.registry import build
from penstock.store import stacks as stored
from penstock.store.databases import refuse_moved
from penstock.store.notices import Notices
from penstock.store.session import Database
from penstock.version import VERSION

Leave = Callable[[server.StopServer], Awaitable[None]]

_NOUNS = (
    pipelines,
    pipeline_snapshots,
    code,
    run_templates,
    runs,
    bulk,
    callbacks,
    decisions,
    step_runs,
    artifacts,
    stack_routes,
    deployments,
    trials,
    service_accounts,
    users,
    sessions,
    audit_routes,
    trusts,
    devices,
    login,
    server,
)


def open_installation(settings: Settings, address: str, services: str = "") -> Installation:
    """Open the store of this home, bringing its schema up to date, and make what every installation has.

    `address` is that of the owner's door, `services` that of services, if it is another.
    """
    place = place_of(settings.home)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.shared_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_moved(settings.database)
    db = Database(settings.database, connections=_connections(settings))
    db.migrate()
    installation = Installation(
        settings=settings,
        db=db,
        bell=Bell(),
        signer=Signer(load_secret(settings.shared_directory / "secret.key")),
        address=address,
        services=services,
        owner=f"server:{new_id()}{place}",
        place=place,
        started=now(),
    )
    audit.check_key(installation)
    installation.metrics.watch(db)
    db.closing = audit.closing
    with db.write() as session:
        stacks.ensure_default(session, installation)
    return installation


def _connections(settings: Settings) -> int:
    """SQLite's cost nothing; those of a server are counted there."""
    return settings.database_connections if settings.database_url.startswith("postgres") else 40


class Components:
    """The stack components that this server uses, each built once from its flavor and options."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._built: dict[str, Any] = {}
        self._lock = threading.Lock()

    def launcher(self, component: Component) -> Launcher:
        """The launcher that a stack names. The local one works in this home and reports to this server."""
        local = {"home": str(self._installation.settings.home), "server": self._installation.address}
        options = component.options | (local if component.flavor == "local" else {})
        return cast(Launcher, self._component("orchestrator", Component(flavor=component.flavor, options=options)))

    def artifact_store(self, component: Component) -> ArtifactStore:
        """The artifact store that a stack names."""
        return cast(ArtifactStore, self._component("artifact_store", component))

    def deployer(self, component: Component) -> Deployer:
        """The deployer that a deployment names. The local one works in this home."""
        local = {"home": str(self._installation.settings.home)}
        options = component.options | (local if component.flavor == "local" else {})
        return cast(Deployer, self._component("deployer", Component(flavor=component.flavor, options=options)))

    def close(self) -> None:
        """Let go of the launchers."""
        for one in self._built.values():
            if isinstance(one, Launcher):
                one.close()

    def _component(self, kind: str, component: Component) -> object:
        key = f"{kind} {component!r}"
        with self._lock:
            if key not in self._built:
                self._built[key] = build(kind, component)
            return self._built[key]


def create_app(installation: Installation, *, url: str | None = None, leave: Leave | None = None) -> FastAPI:
    """The application for an installation. `url` is its TCP address, if it has one; `leave` stops the process."""
    components = Components(installation)
    dispatcher = Dispatcher(installation, components.launcher)
    reaper = Reaper(installation)
    sweeper = Sweeper(installation)
    deliverer = Deliverer(installation)
    spans = traces("penstock-server")
    lineage = Lineage(installation, installation.settings.lineage_url) if installation.settings.lineage_url else None
    tender = Tender(installation, components.deployer)
    notices = _notices(installation)
    workers = (dispatcher, reaper, sweeper, deliverer, tender)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with installation.db.read() as session:
            # Built now, so that it is let go of at the end even if this server launches nothing: a supervisor may be
            # there from an earlier one.
            components.launcher(stored.get(session, stacks.DEFAULT).components["orchestrator"])
        if notices is not None:
            notices.start()
        for worker in workers:
            worker.start()
        if lineage is not None:
            installation.run_changed.append(lineage.note)
            lineage.start()
        try:
            yield
        finally:
            for worker in workers:
                worker.stop()
            if lineage is not None:
                lineage.stop()
            if spans is not None:
                spans.close()
            components.close()
            installation.pen.close()
            journal.hold_on(installation)
            if notices is not None:
                notices.stop()
            installation.db.close()

    settings = installation.settings
    app = Application(
        root_path=settings.root_path,
        title="Penstock",
        version=VERSION,
        summary="Freeze a machine-learning pipeline, and let anything trigger it.",
        lifespan=lifespan,
        generate_unique_id_function=operation_id,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False},
    )
    app.state.installation = installation
    app.state.url = url
    app.state.leave = leave or _stay
    app.state.stop_run = dispatcher.stop_run
    app.state.workers = tuple(one for one in workers if one is not sweeper)
    app.state.artifact_store = components.artifact_store
    _surround(app, installation, spans)
    app.state.deployer = components.deployer
    problems.install(app)
    _lay_out(app)
    return app


def _lay_out(app: Application) -> None:
    """All addresses that there are."""
    app.publish(f"{API}/openapi.json")
    app.include_router(health.router)
    for noun in _NOUNS:
        app.add(noun.router)
    app.add(users.own)
    app.include_router(devices.page)


def _notices(installation: Installation) -> Notices | None:
    """What carries rings to the other servers on the same database, and theirs to this one."""
    if installation.db.one_writer:
        return None
    bell = installation.bell
    notices = Notices(installation.settings.database, bell.ring_here, bell.ring_all)
    bell.carry = notices.tell
    return notices


def _surround(app: FastAPI, installation: Installation, spans: Traces | None) -> None:
    """What every request passes on its way in and every answer on its way out; what is added last is outermost."""
    settings = installation.settings
    doors = frozenset(one.removeprefix("unix:") for one in (installation.address, installation.services))
    limits = {"": settings.max_body, "/api/v1/code/": settings.max_archive + code.TAR_OVERHEAD}
    app.add_middleware(cast(Any, Edge), limits=limits)
    if allowed := origins(settings.origins):
        app.add_middleware(
            CORSMiddleware,
            allow_origins=allowed,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=CORS_HEADERS,
            expose_headers=CORS_EXPOSED,
        )
    if settings.rate_per_key or settings.rate_per_address:
        app.add_middleware(cast(Any, Rates), settings=settings, doors=doors)
    app.add_middleware(cast(Any, Hosts), settings=settings, doors=doors)
    if settings.trusted_proxies:
        app.add_middleware(cast(Any, Proxies), trusted=settings.trusted_proxies)
    app.add_middleware(cast(Any, Watch), metrics=installation.metrics, each=settings.log_requests, traces=spans)
    app.add_middleware(cast(Any, SafeHeaders))


async def _stay(_: server.StopServer) -> None:
    """An application that is no process of its own cannot leave."""

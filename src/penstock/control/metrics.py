"""What this server counts and measures, for Prometheus. Names of templates are told apart up to a limit, callers never."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.errors import PenstockError
from penstock.model.decision import Verdict
from penstock.model.run import Run
from penstock.store import runs
from penstock.store.session import Database
from penstock.version import VERSION

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MOST_TEMPLATES = 200
"""Templates that have series of their own; runs of later ones count under `(other)`: what users name must not grow without end."""

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """The registry of one server process; not the process-wide one, so that two servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("penstock", "Which Penstock this is.", registry=registry).info({"version": VERSION})
        self._templates: set[str] = set()
        self._lock = threading.Lock()
        self._http = Histogram(
            "penstock_http_request_duration_seconds",
            "How long requests took, by the route's template; waiting for runs included.",
            ("method", "route", "status"),
            buckets=(*_QUICK, 60, 300),
            registry=registry,
        )
        self._started = Counter("penstock_runs_started", "Runs that were accepted.", ("template",), registry=registry)
        self._ended = Counter(
            "penstock_runs_ended", "Runs that came to their end.", ("template", "state"), registry=registry
        )
        self._duration = Histogram(
            "penstock_run_duration_seconds",
            "From a run's start to its end.",
            ("template",),
            buckets=_LONG,
            registry=registry,
        )
        self.dispatch = Histogram(
            "penstock_dispatch_latency_seconds",
            "From when a run was accepted to when it was claimed; waiting for a slot or a limit included.",
            buckets=_LONG,
            registry=registry,
        )
        self._decisions = Counter(
            "penstock_trigger_decisions", "What became of attempts to start runs.", ("verdict",), registry=registry
        )
        self.store_write = Histogram(
            "penstock_store_write_seconds",
            "Transactions that write, from waiting for their turn to the commit.",
            buckets=_QUICK,
            registry=registry,
        )
        self.leases_lost = Counter(
            "penstock_leases_lost", "Runs whose worker was not heard of for a whole lease.", registry=registry
        )
        self.callbacks = Counter(
            "penstock_callbacks",
            "Tries to tell somebody of the end of a run, by what became of it: delivered, pending (it is tried again), dead.",
            ("state",),
            registry=registry,
        )
        self.in_progress = Gauge(
            "penstock_http_requests_in_progress", "Requests that are being answered.", registry=registry
        )
        self.swept = Counter("penstock_swept_rows", "What retention removed.", ("what",), registry=registry)
        self.lineage = Counter(
            "penstock_lineage_events", "OpenLineage events, by what became of them.", ("outcome",), registry=registry
        )

    def watch(self, db: Database) -> None:
        """Measure the writes of `db`, and look at its queue whenever somebody asks for the metrics."""
        db.wrote = self.store_write.observe
        self.registry.register(_Queue(db))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request has been answered."""
        self._http.labels(method, route, str(status)).observe(seconds)

    def started(self, run: Run) -> None:
        """A run was accepted."""
        self._started.labels(self._template(run)).inc()

    def ended(self, run: Run) -> None:
        """A run came to its end."""
        template = self._template(run)
        self._ended.labels(template, run.state.value).inc()
        if run.started is not None and run.ended is not None:
            self._duration.labels(template).observe(max(0.0, (run.ended - run.started).total_seconds()))

    def decided(self, verdict: Verdict) -> None:
        """Somebody tried to start a run, and this became of it."""
        self._decisions.labels(verdict.value).inc()

    def text(self) -> bytes:
        """Everything, in the format that Prometheus reads."""
        return generate_latest(self.registry)

    def _template(self, run: Run) -> str:
        if run.template_name is None:
            return "(none)"
        with self._lock:
            if run.template_name not in self._templates:
                if len(self._templates) >= MOST_TEMPLATES:
                    return "(other)"
                self._templates.add(run.template_name)
        return run.template_name


class _Queue(Collector):
    """What stands in the database: the same on every server that shares it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def describe(self) -> Iterator[Metric]:
        """Nothing is looked at when this is registered."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Live runs by state and the age of the one that waits longest; without a database, only that it is away."""
        up = GaugeMetricFamily("penstock_database_up", "Whether the database answers.")
        live = GaugeMetricFamily("penstock_runs", "Runs that have not ended.", labels=("state",))
        oldest = GaugeMetricFamily(
            "penstock_queue_oldest_seconds", "How long the oldest run that may start has been waiting; 0 if none is."
        )
        try:
            with self._db.read() as session:
                counts, age = runs.live(session), runs.oldest_wait(session, datetime.now(UTC))
        except PenstockError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        for state, count in counts.items():
            live.add_metric((state.value,), count)
        oldest.add_metric((), age)
        yield from (up, live, oldest)

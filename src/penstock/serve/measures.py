"""What a service counts and measures, for Prometheus and for `/info`."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from penstock.model.deployment import Plan

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Measures:
    """The registry of one service."""

    def __init__(self, plan: Plan) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        names = ("deployment", "revision")
        info = Gauge("penstock_service_info", "Which deployment this is.", names, registry=registry)
        info.labels(plan.deployment_name, str(plan.revision)).set(1)
        self._seconds = Histogram(
            "penstock_service_request_duration_seconds",
            "How long requests took to carry out.",
            ("status",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.refused = Counter("penstock_service_refused", "Requests that found no place.", registry=registry)
        self.untold = Counter(
            "penstock_service_untold", "Requests of which no record is kept, for want of room.", registry=registry
        )
        self.open = Gauge("penstock_service_open_requests", "Requests under way or waiting.", registry=registry)
        self.submitted = Gauge("penstock_service_submitted_waiting", "Submitted requests that wait.", registry=registry)
        self.spooled = Gauge("penstock_service_spool_bytes", "Records that wait for the server.", registry=registry)
        self.started = time.time()
        self.total = 0
        self.failed = 0
        self.last: float | None = None

    def answered(self, status: int, seconds: float) -> None:
        """A request has ended."""
        self._seconds.labels(str(status)).observe(seconds)
        self.total += 1
        self.failed += status != 200
        self.last = time.time()

    def text(self) -> bytes:
        """Everything, in the format that Prometheus reads."""
        return generate_latest(self.registry)

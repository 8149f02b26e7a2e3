"""How the server does, for those who watch it: alive, ready, and in numbers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from penstock.control.health import check_ready
from penstock.control.metrics import CONTENT_TYPE
from penstock.server.access import Here, Reader
from penstock.server.bodies import answer

router = APIRouter(tags=["server"])


# Coroutines: where all threads wait for a database that hangs, these still answer.
@router.get("/health")
async def get_health() -> Response:
    """Whether the server answers."""
    return answer({"status": "ok"})


@router.get("/health/live")
async def get_liveness() -> Response:
    """Whether the server answers. It looks at nothing else: a database that is away is no reason to restart a server."""
    return answer({"status": "ok"})


@router.get("/health/ready")
def get_readiness(request: Request, here: Here) -> Response:
    """Whether requests and runs should be sent here: database, schema, disk, dispatcher and reaper, and not leaving."""
    check_ready(here, request.app.state.workers)
    return answer({"status": "ready"})


@router.get("/metrics", response_class=Response)
def get_metrics(here: Here, _: Reader) -> Response:
    """Figures for Prometheus."""
    return Response(here.metrics.text(), media_type=CONTENT_TYPE)

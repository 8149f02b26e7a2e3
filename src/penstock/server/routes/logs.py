"""Lines of output over HTTP, for a run and for a step of it."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from penstock.control.installation import Installation
from penstock.model.preference import preferred_wait
from penstock.server.access import Standing
from penstock.server.bodies import answer
from penstock.server.triggers import waited
from penstock.store import logs, runs


class LogQuery(BaseModel):
    """Which lines: after a cursor (`next` of the last answer), of one step or of all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str | None = None
    after: int = Field(default=0, ge=0)
    limit: int = Field(default=1000, ge=1, le=10_000)


async def log_page(request: Request, here: Installation, reference: str, query: LogQuery) -> Response:
    """The lines there are; if there are none yet, those that come within the time the caller prefers to wait."""
    wait = preferred_wait(request.headers.get("prefer", ""))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    found = await run_in_threadpool(_read, here, reference, query)
    standing = Standing(request, here)
    with here.bell.subscribe(found["run_id"], loop) as rung:
        while (
            not found["lines"]
            and not found["ended"]
            and not here.draining.is_set()
            and (left := deadline - loop.time()) > 0
        ):
            found = await run_in_threadpool(_read, here, reference, query)
            if not found["lines"] and not found["ended"]:
                await rung.wait_async(min(left, Standing.EVERY))
                await standing.hold()
    return answer(found, headers=waited(wait))


def _read(here: Installation, reference: str, query: LogQuery) -> dict[str, Any]:
    with here.db.read() as session:
        run = runs.get(session, reference)  # before the lines: an end seen now has all its lines behind it
        lines, cursor = logs.after(session, run.id, query.after, step=query.step, limit=query.limit)
    return {"run_id": run.id, "lines": lines, "next": cursor, "ended": run.state.terminal and not lines}

from __future__ import annotations

from typing import Any

import pytest

from penstock import errors
from penstock.cli.failures import exit_code
from penstock.errors import PenstockError, fault


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.InvalidInput, 2),
        (errors.KeyReused, 2),
        (errors.MalformedRequest, 2),
        (errors.SourceNotFound, 2),
        (errors.AuthoringError, 2),
        (errors.ServerUnreachable, 3),
        (errors.HomeUnusable, 3),
        (errors.Unauthenticated, 4),
        (errors.Forbidden, 4),
        (errors.NotFound, 1),
        (errors.Conflict, 1),
        (errors.Unavailable, 1),
        (errors.PenstockError, 1),
    ],
)
def test_exit_status(kind: type[PenstockError], status: int) -> None:
    assert exit_code(kind("x")) == status


def test_a_timeout_is_a_failed_operation() -> None:
    assert exit_code(TimeoutError("x")) == 1


@pytest.mark.parametrize(
    ("error", "status", "advice"),
    [
        (errors.Unauthenticated("The key is not valid."), 4, "penstock login URL"),
        (errors.Forbidden("A viewer may not do this."), 4, "role"),
        (errors.NotFound("There is no run 'x'."), 1, ""),
    ],
)
def test_what_it_says(penstock: Any, server: Any, error: PenstockError, status: int, advice: str) -> None:
    server.on("GET", "/runs/x", error)
    done = penstock("run", "show", "x")
    assert (done.status, done.stdout) == (status, "")
    assert done.stderr.startswith(f"Error: {error.detail}\n")
    assert advice in done.stderr


def test_every_mistake_with_its_place(penstock: Any, server: Any, snapshot_json: dict[str, Any]) -> None:
    mistakes = [
        fault("/parameters/lrr", "The pipeline has no such parameter.", allowed=["lr", "name"], given="lrr"),
        fault("/parameters/name", "A value is needed."),
    ]
    server.on("GET", "/pipeline_snapshots/prod", snapshot_json)
    server.on("POST", "/runs", errors.InvalidInput("The input has 2 mistakes.", errors=mistakes))
    done = penstock("pipeline", "snapshot", "run", "prod", "-p", "lrr=1")
    assert done.status == 2
    assert done.stderr.splitlines() == [
        "Error: The input has 2 mistakes.",
        "  /parameters/lrr: The pipeline has no such parameter. Did you mean 'lr'? Allowed: lr, name.",
        "  /parameters/name: A value is needed.",
    ]

"""A run once more: with changes, on another version, only what failed; and what belongs to a run is cancelled with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually


@pytest.fixture(scope="module")
def stage(site: Site) -> Site:
    for name in ("steps", "parent", "round_and_round"):
        site.template(f"{PIPELINES / 'steps.py'}:{name}", name.replace("_", "-"))
    return site


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def carried_out(trace: Path) -> list[str]:
    """Which steps were carried out since the last look."""
    lines = sorted(trace.read_text().split()) if trace.exists() else []
    trace.unlink(missing_ok=True)
    return lines


def replayed(site: Site, run: dict[str, Any], status: int = 202, **body: Any) -> Any:
    answer = site.api.post(f"/runs/{run['id']}/replay", json=body)
    assert answer.status_code == status, answer.text
    return site.ended(answer.json()["id"]) if status == 202 else answer.json()


def reasons(site: Site, run: dict[str, Any]) -> dict[str, str]:
    items = site.get(f"/runs/{run['id']}/steps")["items"]
    return {one["step"]: one["cache"]["reason"] for one in items if one["cache"]}


def test_what_failed_is_carried_out_again_and_the_rest_taken_over(stage: Site, trace: Path) -> None:
    broken = Path(f"{trace}.broken")
    broken.touch()
    failed = stage.ended(stage.trigger("steps", {"path": str(trace), "n": 4})["id"])
    assert failed["state"] == "failed"
    assert carried_out(trace) == ["clean", "fit", "load"]
    broken.unlink()
    again = replayed(stage, failed, from_failure=True)
    assert (again["state"], again["outputs"]) == ("completed", {"output": "[6.0, [0, 1, 2, 3]]"})
    assert carried_out(trace) == ["fit", "report"]
    assert reasons(stage, again)["load"] == f"Taken over from run {failed['name']}."
    assert again["cause"]["kind"] == "replay"
    assert again["cause"]["replay_of"] == failed["id"]
    assert again["template_name"] == "steps"
    assert again["origins"]["/parameters/n"] == f"run {failed['name']}"
    assert stage.get(f"/runs/{failed['id']}")["state"] == "failed"  # history is not rewritten
    third = replayed(stage, again, from_failure=True)
    assert (carried_out(trace), third["outputs"]) == ([], again["outputs"])


def test_a_replay_with_changes_takes_over_only_what_they_do_not_touch(stage: Site, trace: Path) -> None:
    first = stage.ended(stage.trigger("steps", {"path": str(trace)})["id"])
    carried_out(trace)
    plain = replayed(stage, first)
    assert (carried_out(trace), plain["outputs"]) == (["clean", "fit", "load", "report"], first["outputs"])
    other = replayed(stage, first, from_failure=True, parameters={"rate": 2.0})
    assert other["outputs"] == {"output": "[6.0, [0, 1, 2]]"}
    assert carried_out(trace) == ["fit", "report"]
    assert "'rate'" in reasons(stage, other)["fit"]
    assert "'parts'" in reasons(stage, other)["report"]
    assert other["origins"]["/parameters/rate"] == "request"
    forked = replayed(stage, first, from_step="clean")
    assert (carried_out(trace), forked["outputs"]) == (["clean", "fit", "report"], first["outputs"])


def test_a_fork_onto_another_version_takes_over_steps_with_the_same_code(
    stage: Site, trace: Path, tmp_path: Path
) -> None:
    source = (PIPELINES / "steps.py").read_text()
    (tmp_path / "steps.py").write_text(source)
    stage.template(f"{tmp_path / 'steps.py'}:steps", "steps-forked")
    first = stage.ended(stage.trigger("steps-forked", {"path": str(trace), "n": 2})["id"])
    carried_out(trace)
    (tmp_path / "steps.py").write_text(source.replace("return rate * sum(rows)", "return rate * sum(rows) + 1"))
    stage.template(f"{tmp_path / 'steps.py'}:steps", "steps-forked")
    forked = replayed(stage, first, template="steps-forked@v2", from_failure=True)
    assert forked["outputs"] == {"output": "[2.0, [0, 1]]"}
    assert carried_out(trace) == ["fit", "report"]
    assert (forked["template_version"], forked["parameters"]["n"]) == (2, 2)
    assert forked["origins"]["/parameters/rate"] == "default"


def test_mistakes_start_nothing(stage: Site, trace: Path) -> None:
    first = stage.ended(stage.trigger("steps", {"path": str(trace)})["id"])
    before = len(stage.get("/runs", template="steps", size=200)["items"])
    assert replayed(stage, first, 422, parameters={"m": 1})["errors"][0]["pointer"] == "/parameters/m"
    assert replayed(stage, first, 404, from_step="fot")["errors"][0]["did_you_mean"] == "fit"
    assert replayed(stage, first, 422, from_faliure=True)["status"] == 422
    assert stage.api.post("/runs/nobody/replay").status_code == 404
    held = stage.trigger("lab", {"deed": "wait", "path": str(trace)})
    assert replayed(stage, held, 409, from_failure=True)["status"] == 409
    stage.post(f"/runs/{held['id']}/cancel")
    assert len(stage.get("/runs", template="steps", size=200)["items"]) == before


def test_the_command_line_replays(stage: Site, trace: Path) -> None:
    first = stage.ended(stage.trigger("steps", {"path": str(trace)})["id"])
    carried_out(trace)
    shown = stage.penstock("run", "replay", first["name"], "--from-step", "report", "-p", "n=3", "-o", "json").stdout
    assert json.loads(shown)["outputs"] == first["outputs"]
    assert carried_out(trace) == ["report"]
    printed = stage.penstock("run", "show", json.loads(shown)["name"]).stdout
    assert first["id"] in printed


def chain(site: Site, trace: Path, depth: int) -> list[dict[str, Any]]:
    """A run with children under it, `depth` deep, all of them waiting; the topmost first."""
    top = site.trigger("parent", {"template": "parent", "path": str(trace), "depth": depth})
    for number in range(depth + 1):
        eventually(Path(f"{trace}.{number}").exists, what=f"the run of depth {number} waits")
    runs = [top]
    while children := site.get("/runs", parent_run_id=runs[-1]["id"])["items"]:
        runs += children
    assert len(runs) == depth + 1
    return runs


def test_a_run_is_cancelled_with_all_that_it_has_started(stage: Site, trace: Path) -> None:
    runs = chain(stage, trace, 2)
    stage.post(f"/runs/{runs[0]['id']}/cancel")
    assert [stage.ended(run["id"])["state"] for run in runs] == ["cancelled"] * 3


def test_children_are_left_alone_if_that_is_wanted(stage: Site, trace: Path) -> None:
    runs = chain(stage, trace, 1)
    stage.penstock("run", "cancel", runs[0]["name"], "--no-children")
    assert stage.ended(runs[0]["id"])["state"] == "cancelled"
    Path(f"{trace}.go").touch()
    assert stage.ended(runs[1]["id"])["state"] == "completed"


def test_a_run_that_would_start_itself_again_and_again_is_stopped(stage: Site, trace: Path) -> None:
    before = len(stage.get("/runs", template="round-and-round", size=200)["items"])
    top = stage.trigger("round-and-round", {"template": "round-and-round", "path": str(trace)})
    ended = stage.ended(top["id"])
    assert ended["state"] == "failed"
    assert "circles" in ended["error"]["message"]
    assert len(stage.get("/runs", template="round-and-round", size=200)["items"]) == before + 1


def test_many_are_replayed_or_cancelled_at_once_after_a_rehearsal(stage: Site, trace: Path) -> None:
    broken = Path(f"{trace}.broken")
    broken.touch()
    tags = {"tags": ["many"]}
    runs = [
        stage.post("/run_templates/steps/runs", {"parameters": {"path": str(trace), "n": n}, **tags}) for n in (1, 2)
    ]
    failed = [stage.ended(run["id"]) for run in runs]
    carried_out(trace)
    broken.unlink()
    wanted = {"where": {"state": ["failed"], "tag": "many"}, "from_failure": True}
    would = stage.post("/runs/replay", {**wanted, "dry_run": True})
    assert (would["matched"], [one["name"] for one in would["items"]]) == (2, [run["name"] for run in failed])
    assert carried_out(trace) == []
    first = stage.post("/runs/replay", wanted, Idempotency_Key="many-1")
    again = stage.post("/runs/replay", wanted, Idempotency_Key="many-1")
    assert [one["run_id"] for one in first["items"]] == [one["run_id"] for one in again["items"]]
    ended = [stage.ended(one["run_id"]) for one in first["items"]]
    assert [run["cause"]["replay_of"] for run in ended] == [run["id"] for run in failed]
    assert carried_out(trace) == ["fit", "fit", "report", "report"]

    held = [
        stage.post("/run_templates/lab/runs", {"parameters": {"deed": "wait", "path": f"{trace}{n}"}, "tags": ["held"]})
        for n in range(3)
    ]
    printed = stage.penstock("run", "cancel-many", "--tag", "held", "--dry-run").stderr
    assert "3 of 3 runs that fit would be cancelled." in printed
    stage.penstock("run", "cancel-many", "--tag", "held")
    assert [stage.ended(run["id"])["state"] for run in held] == ["cancelled"] * 3
    assert stage.post("/runs/cancel", {"where": {"tag": "held"}})["matched"] == 0


def test_many_means_none_unless_it_is_said(stage: Site) -> None:
    for path in ("/runs/cancel", "/runs/replay"):
        assert stage.api.post(path, json={}).status_code == 422
        assert stage.api.post(path, json={"where": {"colour": "red"}}).status_code == 422
    assert stage.penstock("run", "replay-many", "--state", "failed", "--tag", "nobody").stderr.startswith("0 of 0")


def test_of_many_those_that_cannot_be_replayed_are_told(stage: Site, trace: Path) -> None:
    run = stage.post("/run_templates/steps/runs", {"parameters": {"path": str(trace)}, "tags": ["odd"]})
    stage.ended(run["id"])
    answer = stage.post("/runs/replay", {"where": {"tag": "odd"}, "parameters": {"m": 1}})
    assert (answer["matched"], answer["items"][0]["state"]) == (1, None)
    assert "/parameters/m" in answer["items"][0]["problem"]
    assert stage.penstock("run", "replay-many", "--tag", "odd", "--on", "steps@v9", status=1).stdout

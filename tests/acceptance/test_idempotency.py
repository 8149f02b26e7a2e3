"""Keys: how long they hold, what becomes of a request that meets one, and a machine that tries it in every order."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penstock.client.client import Client
from penstock.errors import KeyHeld
from penstock.model.idempotency import IdempotencyKey
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site


def post(site: Site, key: str, path: Path, number: int = 1, **headers: str) -> Any:
    body = {"parameters": {"deed": "wait", "path": str(path), "number": number}}
    said = {"Idempotency-Key": key, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return site.api.post("/run_templates/lab/runs", json=body, headers=said)


def go_on(site: Site, path: Path, run_id: str) -> dict[str, Any]:
    Path(f"{path}.go").touch()
    ended = site.ended(run_id)
    Path(f"{path}.go").unlink()
    return ended


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def test_until_its_run_has_ended_a_key_stands_for_it_and_then_is_free(site: Site, gate: Path) -> None:
    first = post(site, "terminal-1", gate, Idempotency_Until="terminal")
    joined = post(site, "terminal-1", gate, Idempotency_Until="terminal")
    assert (joined.json()["id"], joined.headers["idempotency-result"]) == (first.json()["id"], "joined")
    go_on(site, gate, first.json()["id"])
    second = post(site, "terminal-1", gate, number=2, Idempotency_Until="terminal")
    assert second.headers["idempotency-result"] == "created"
    assert second.json()["id"] != first.json()["id"]
    go_on(site, gate, second.json()["id"])


def test_whoever_does_not_want_to_join_is_told_who_holds_the_key(site: Site, gate: Path) -> None:
    first = post(site, "reject-1", gate).json()
    refused = post(site, "reject-1", gate, number=2, Idempotency_Conflict="reject")
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:penstock:problem:idempotency-key-held"
    assert first["name"] in refused.json()["detail"]
    go_on(site, gate, first["id"])
    replayed = post(site, "reject-1", gate, Idempotency_Conflict="reject")
    assert (replayed.status_code, replayed.headers["idempotency-result"]) == (200, "replayed")


def test_the_newest_may_take_the_place_of_the_one_before(site: Site, gate: Path) -> None:
    first = post(site, "replace-1", gate).json()
    site.reaches(first["id"], ["running"])
    second = post(site, "replace-1", gate, number=2, Idempotency_Conflict="replace")
    assert (second.status_code, second.headers["idempotency-result"]) == (202, "replaced")
    assert site.ended(first["id"])["state"] == "cancelled"
    assert go_on(site, gate, second.json()["id"])["outputs"] == {"output": {"value": 4}}


def test_of_many_who_replace_each_other_one_is_left(site: Site, gate: Path) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: post(site, "replace-2", gate, n, Idempotency_Conflict="replace"), range(24)))
    assert {one.status_code for one in answers} <= {202, 503}
    Path(f"{gate}.go").touch()
    states = [site.ended(one.json()["id"])["state"] for one in answers if one.status_code == 202]
    assert states.count("completed") == 1
    assert set(states) == {"completed", "cancelled"}


def test_a_call_that_is_sent_again_is_no_conflict_with_itself(site: Site, gate: Path) -> None:
    for policy in ("reject", "replace"):
        said = {"Idempotency_Conflict": policy, "Idempotency_Until": "terminal"}
        first = post(site, f"again-{policy}", gate, Idempotency_Attempt="call-1", **said)
        again = post(site, f"again-{policy}", gate, Idempotency_Attempt="call-1", **said)
        assert again.json()["id"] == first.json()["id"]
        other = post(site, f"again-{policy}", gate, number=2, Idempotency_Attempt="call-1", Idempotency_Conflict="join")
        assert other.status_code == 422  # the same call has the same body
        go_on(site, gate, first.json()["id"])
        late = post(site, f"again-{policy}", gate, Idempotency_Attempt="call-1", **said)
        assert late.json()["id"] == first.json()["id"]


@pytest.mark.parametrize(
    ("headers", "pointer"),
    [
        ({"Idempotency-Key": "k", "Idempotency-Until": "soon"}, "/headers/Idempotency-Until"),
        ({"Idempotency-Key": "k", "Idempotency-Until": "-1"}, "/headers/Idempotency-Until"),
        ({"Idempotency-Key": "k", "Idempotency-Until": "nan"}, "/headers/Idempotency-Until"),
        ({"Idempotency-Key": "k", "Idempotency-Until": "1e99"}, "/headers/Idempotency-Until"),
        ({"Idempotency-Key": "k", "Idempotency-Conflict": "rejct"}, "/headers/Idempotency-Conflict"),
        ({"Idempotency-Conflict": "reject"}, "/headers/Idempotency-Conflict"),
        ({"Idempotency-Key": "k" * 256}, "/headers/Idempotency-Key"),
    ],
)
def test_what_makes_no_sense_is_refused(site: Site, headers: dict[str, str], pointer: str) -> None:
    answer = site.api.post("/run_templates/lab/runs", json={}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_every_way_of_starting_takes_a_key(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(site.home))
    run = site.ended(site.trigger("lab", {"number": 3})["id"])
    source = f"{PIPELINES / 'lab.py'}:lab"
    client = Client()
    once: dict[str, Callable[[], str]] = {
        "Runs.replay": lambda: client.runs.replay(run["id"], idempotency_key="k-replay").id,
        "Runs.replay_many": lambda: str(
            client.runs.replay_many({"name": run["name"]}, idempotency_key="k-many").items[0].run_id
        ),
        "Snapshots.run": lambda: client.snapshots.run(run["snapshot_id"], idempotency_key="k-snapshot").id,
        "run replay": lambda: printed("run", "replay", run["name"], "--idempotency-key", "k-cli"),
        "snapshot run": lambda: printed("pipeline", "snapshot", "run", run["snapshot_id"], "--idempotency-key", "k-s"),
        "pipeline run": lambda: printed(
            "pipeline", "run", source, "--idempotency-key", "k-p", "--while-running", "join"
        ),
    }

    def printed(*arguments: str) -> str:
        return str(json.loads(site.penstock(*arguments, "--no-wait", "-o", "json").stdout)["id"])

    for way, start in once.items():
        if way == "pipeline run":  # its key holds until the run has ended: which may be before the second call
            start()
        else:
            assert start() == start(), way


def test_python_and_the_command_line_say_the_same(site: Site, gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    given: dict[str, Any] = {"parameters": {"deed": "wait", "path": str(gate)}}
    key = IdempotencyKey(key="py-1", until="terminal", on_conflict="reject")
    run = Client().templates.run("lab", idempotency_key=key, **given)
    with pytest.raises(KeyHeld):
        Client().templates.run("lab", idempotency_key=key, **given)
    command = ("run-template", "run", "lab", "--idempotency-key", "py-1", "--while-running", "reject", "--no-wait")
    assert run.name in site.penstock(*command, status=None).stderr
    assert site.penstock("run-template", "run", "lab", "--while-running", "join", status=None).returncode != 0
    go_on(site, gate, run.id)


class Keys(RuleBasedStateMachine):
    """Requests with a few keys, in any order, against the live application and against what they should mean."""

    site: Site

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pk-keys-"))
        self.prefix = self.directory.name
        self.held: dict[str, tuple[str, int, bool]] = {}
        """Key -> its run, the request that it came with, and whether it is free when the run has ended."""

        self.going: set[str] = set()
        self.started: list[str] = []

    @rule(
        name=st.sampled_from("ab"),
        number=st.integers(1, 2),
        policy=st.sampled_from(["join", "reject", "replace"]),
        terminal=st.booleans(),
    )
    def request(self, name: str, number: int, policy: str, terminal: bool) -> None:
        headers = {"Idempotency_Conflict": policy} | ({"Idempotency_Until": "terminal"} if terminal else {})
        answer = post(self.site, f"{self.prefix}-{name}", self.directory / "gate", number, **headers)
        known = self.held.get(name)
        if known is not None and known[2] and known[0] not in self.going:
            known = None
        if known is None or (known[0] in self.going and policy == "replace"):
            assert answer.status_code == 202, answer.text
            assert answer.headers["idempotency-result"] == ("created" if known is None else "replaced")
            assert answer.json()["id"] not in self.started
            if known is not None:
                self.going.discard(known[0])
            self.held[name] = (answer.json()["id"], number, terminal)
            self.going.add(answer.json()["id"])
            self.started.append(answer.json()["id"])
        elif known[0] in self.going and policy == "reject":
            assert answer.status_code == 409
        elif known[1] != number:
            assert answer.status_code == 422
        else:
            assert answer.json()["id"] == known[0]
            assert answer.headers["idempotency-result"] == ("joined" if known[0] in self.going else "replayed")

    @rule(name=st.sampled_from("ab"))
    def end(self, name: str) -> None:
        if name in self.held and self.held[name][0] in self.going:
            self.site.post(f"/runs/{self.held[name][0]}/cancel")
            self.site.ended(self.held[name][0])
            self.going.discard(self.held[name][0])

    @invariant()
    def no_run_is_lost_or_doubled(self) -> None:
        if self.started:
            listed = self.site.get("/runs", template="lab", size=200)["items"]
            ours = [one["id"] for one in listed if str(self.directory) in str(one["parameters"]["path"])]
            assert sorted(ours) == sorted(self.started)

    def teardown(self) -> None:
        for run_id in getattr(self, "going", ()):
            self.site.api.post(f"/runs/{run_id}/cancel")
        shutil.rmtree(getattr(self, "directory", ""), ignore_errors=True)


def test_in_every_order_a_key_means_what_it_should(fresh: Site) -> None:
    kind = type("KeysOfThisSite", (Keys,), {"site": fresh})
    kind.TestCase.settings = settings(
        max_examples=8, stateful_step_count=12, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    kind.TestCase().runTest()

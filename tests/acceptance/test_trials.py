"""Trials beside a deployment: what a mirror finds, whom a canary answers, and what becomes of it when something dies."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.site_under_test import PATIENCE, Site, eventually

SOURCE = (Path(__file__).parent / "pipelines" / "scored.py").read_text()


class Lab:
    """A site with the deployment `scored`, and candidates for it."""

    def __init__(self, site: Site, project: Path, *options: str) -> None:
        self.site, self.project = site, project
        (project / "scored.py").write_text(SOURCE)
        made = json.loads(self.penstock("pipeline", "deploy", "scored.py:scored", "--name", "scored", *options).stdout)
        self.key = made.get("key")
        self.deployment = made.get("deployment", made)
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.client = httpx.Client(base_url=self.deployment["url"], headers=headers, timeout=PATIENCE)

    def penstock(self, *arguments: str, status: int | None = 0) -> Any:
        return self.site.penstock(*arguments, "-o", "json", cwd=self.project, status=status)

    def candidate(self, *changes: tuple[str, str]) -> str:
        """The id of a snapshot with these changes."""
        text = SOURCE
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        (self.project / "scored.py").write_text(text)
        return str(json.loads(self.penstock("pipeline", "snapshot", "create", "scored.py:scored").stdout)["id"])

    def ask(self, number: int = 1, headers: dict[str, str] | None = None, **parameters: Any) -> httpx.Response:
        body = {"parameters": {"number": number, **parameters}}
        return self.client.post("/invoke", json=body, headers=headers)

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = self.site.get("/deployments/scored/trial")
        return found

    def companion(self) -> dict[str, Any]:
        found: dict[str, Any] = self.site.get(f"/deployments/{self.report()['trial']['companion_id']}")
        return found

    def trial(self, kind: str, *options: str) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.penstock("deployment", kind, "scored", *options).stdout)
        return made

    def share(self, share: float) -> None:
        assert self.site.api.patch("/deployments/scored/trial", json={"share": share}).json()["share"] == share

    def until(self, true: Callable[[dict[str, Any]], bool], meanwhile: Callable[[], Any] = bool) -> dict[str, Any]:
        """The report once it is so."""

        def look() -> dict[str, Any] | None:
            meanwhile()
            found = self.report()
            return found if true(found) else None

        found = eventually(look, what="the report")
        assert found is not None
        return found

    def answered_by(self, key: str | None = None) -> str | None:
        answer = self.ask(3, headers={"Penstock-Sticky-Key": key} if key is not None else None)
        assert answer.status_code == 200, answer.text
        snapshot = answer.headers.get("penstock-snapshot")
        assert snapshot in (None, answer.json()["metadata"]["snapshot_id"])
        return snapshot

    def until_answered_by(self, snapshots: set[str]) -> None:
        eventually(lambda: {self.answered_by() for _ in range(10)} == snapshots, what=f"answers by {snapshots}")

    def is_up(self) -> bool:
        try:
            return self.client.get("/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def run(self, run_id: str) -> dict[str, Any]:
        eventually(lambda: self.site.api.get(f"/runs/{run_id}").status_code == 200, what=f"run {run_id}")
        found = self.site.get(f"/runs/{run_id}")
        return dict(found)

    def kill_companion(self, companion_id: str) -> None:
        told = json.loads((self.site.home / "deployments" / companion_id / "state.json").read_text())
        for pid in told["workers"]:
            os.kill(pid, signal.SIGKILL)

    def gone(self, companion_id: str) -> None:
        """Wait for the end of a companion, with its processes and files."""
        eventually(
            lambda: self.site.api.get(f"/deployments/{companion_id}").status_code == 404, what="the companion is gone"
        )
        assert not (self.site.home / "deployments" / companion_id).exists()

    @contextmanager
    def asked_all_the_time(self) -> Iterator[list[tuple[int, Any]]]:
        """Somebody asks one question after the other, and notes what comes back."""
        answers: list[tuple[int, Any]] = []
        over = threading.Event()

        def go_on() -> None:
            while not over.is_set():
                answer = self.ask(3)
                answers.append((answer.status_code, answer.json().get("outputs")))

        with ThreadPoolExecutor(2) as pool:
            asking = [pool.submit(go_on) for _ in range(2)]
            try:
                yield answers
            finally:
                over.set()
                for one in asking:
                    one.result()

    def taken_up(self) -> None:
        """Ask until the service knows of its trial: what the candidate was shown, or answered, is in the figures."""

        def look() -> bool:
            self.ask()
            return bool(self.report()["candidate"]["requests"])

        eventually(look, what="the trial is taken up")


@pytest.fixture
def new_lab(new_site: Callable[..., Site], tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    made: list[Lab] = []

    def make(*options: str) -> Lab:
        made.append(Lab(new_site(), tmp_path, *options))
        return made[-1]

    yield make
    for lab in made:
        lab.client.close()


def test_a_mirror_finds_what_differs_and_no_caller_sees_it(new_lab: Callable[..., Lab]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    said = ("--deployer-option", f"port={port}", "--deployer-option", "allocate_port_if_busy=false")
    lab = new_lab("--generate-key", "--deployer", "local", *said)
    candidate = lab.candidate(
        ("number / 3", "number / 3 + (number > 90) * 0.5 + 1e-12"),
        (', path: str = ""', ""),
        ("seconds, path", "seconds, '/'"),
    )
    options = ("--ignore", "/outputs/output/items/*/at", "--tolerance", "1e-9")
    started = lab.trial("mirror", "--snapshot", candidate, "--share", "1", *options)
    assert (started["state"], started["share"]) == ("running", 1.0)
    lab.taken_up()
    before = lab.report()["compared"]
    told = [lab.ask(number) for number in range(81, 101)]
    assert [one.json()["outputs"]["output"]["score"] for one in told] == [number / 3 for number in range(81, 101)]
    assert {one.json()["metadata"]["snapshot_id"] for one in told} == {lab.deployment["snapshot_id"]}
    assert lab.ask(1, path="x").status_code == 200
    assert lab.ask(1, nonsense=1).status_code == 422
    report = lab.until(lambda found: found["compared"] >= before + 22)
    assert report["different"] == 11
    assert {name: one["count"] for name, one in report["places"].items()} == {"/outputs/output/score": 10, "/status": 1}
    assert (report["first"]["errors"], report["candidate"]["errors"], report["dropped"]) == (0, 0, 0)
    example = next(one for one in report["examples"] if one["variances"][0]["pointer"] == "/outputs/output/score")
    run = lab.run(example["candidate_run_id"])
    assert (run["snapshot_id"], run["cause"]["mirror_of"]) == (candidate, example["run_id"])
    assert run["cause"]["deployment"] == "scored"
    assert run["outputs"]["output"]["score"] == example["variances"][0]["candidate"]
    of = f'{{kind="mirror",trial="{started["id"]}"}}'
    assert f"penstock_service_trial_different_total{of} 11.0" in lab.client.get("/metrics").text.splitlines()
    shown = lab.site.penstock("deployment", "trial", "scored")
    assert "/outputs/output/score" in shown.stdout

    # The companion is nobody's but its deployment's.
    companion = lab.companion()
    assert [one["name"] for one in lab.site.get("/deployments")["items"]] == ["scored"]
    for headers in ({}, {"Authorization": f"Bearer {lab.key}"}):
        answer = httpx.post(f"{companion['url']}/invoke", json={"parameters": {"number": 1}}, headers=headers)
        assert answer.status_code == 401
    assert httpx.get(f"{companion['url']}/docs").status_code == 404
    assert companion["url"].startswith("http://127.0.0.1:")
    assert lab.deployment["url"].endswith(port)
    assert not companion["url"].endswith(port)
    for path in ("rollback", "deprovision"):
        assert "candidate" in lab.site.post(f"/deployments/{companion['name']}/{path}", {}, 409)["detail"]
    again = lab.penstock("deployment", "canary", "scored", "--snapshot", candidate, status=None)
    assert again.returncode != 0
    assert "goes on already" in again.stderr

    # It dies, the server dies: nobody who calls is told.
    lab.site.kill()
    lab.kill_companion(companion["id"])
    assert {lab.ask(number).status_code for number in range(30)} == {200}
    lab.site.restart()
    counted = lab.report()["compared"]
    lab.until(lambda found: found["compared"] > counted, lab.ask)
    assert json.loads(lab.penstock("deployment", "abort", "scored").stdout)["state"] == "aborted"
    lab.gone(companion["id"])
    assert lab.ask(1).status_code == 200
    assert all(
        one["snapshot_id"] != candidate for one in lab.site.get("/runs", served_by=lab.deployment["id"])["items"]
    )


def test_a_canary_answers_its_share_until_it_is_what_is_served(new_lab: Callable[..., Lab]) -> None:
    lab = new_lab()
    candidate, first = lab.candidate(("number / 3", "number / 4")), lab.deployment["snapshot_id"]
    lab.trial("canary", "--snapshot", candidate, "--weight", "0.3", "--max-errors", "1")
    lab.taken_up()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    keys = [f"{number:x}" for number in random.Random(seed).sample(range(2**40), 200)]
    by_key = {key: lab.answered_by(key) for key in keys}
    for chosen in (Counter(by_key.values()), Counter(lab.answered_by() for _ in range(200))):
        assert set(chosen) == {candidate, first}
        assert 60 - 5 * 6.5 < chosen[candidate] < 60 + 5 * 6.5, chosen  # five standard deviations
    assert {key: lab.answered_by(key) for key in keys[:40]} == {key: by_key[key] for key in keys[:40]}

    # What stays with what served before: streams, batches, submissions.
    body = {"parameters": {"number": 3}}
    lab.share(1)
    lab.until_answered_by({candidate})
    assert lab.ask(3).json()["outputs"]["output"]["score"] == 0.75
    assert lab.ask(3).json()["metadata"]["deployment_name"] == "scored"
    batch = lab.client.post("/invoke/batch", json={"requests": [body] * 3}).json()["results"]
    assert {one["metadata"]["snapshot_id"] for one in batch} == {first}
    assert first in lab.client.post("/invoke/stream", json=body).text
    submitted = lab.client.post("/submit", json=body, headers={"Prefer": "wait=20"}).json()
    assert submitted["result"]["metadata"]["snapshot_id"] == first
    assert lab.ask(3, nonsense=1).status_code == 422

    # The candidate dies while it answers: what served before does.
    path = lab.project / "begun"
    companion = lab.report()["trial"]["companion_id"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lab.ask, 3, seconds=1.0, path=str(path))
        eventually(path.exists, what="the candidate is at it")
        lab.kill_companion(companion)
        answer = asked.result()
    assert (answer.status_code, answer.headers["penstock-snapshot"]) == (200, first)
    lab.until_answered_by({candidate})

    # Everything dies, and the canary goes on where it was.
    lab.site.kill()
    for process in lab.site.processes():
        process.kill()
    eventually(lambda: not lab.site.processes(), what="everything is dead")
    lab.site.restart()
    eventually(lab.is_up, what="the service")
    lab.until_answered_by({candidate})

    lab.share(0.5)
    with lab.asked_all_the_time() as answers:
        done = json.loads(lab.penstock("deployment", "promote", "scored").stdout)
        assert (done["promoted"], done["revision"]) == (candidate, 2)
        lab.gone(companion)
    assert {status for status, _ in answers} == {200}
    assert lab.answered_by() is None
    assert lab.ask(3).json()["metadata"]["snapshot_id"] == candidate
    revisions = lab.site.get("/deployments/scored/revisions")
    assert [(one["number"], one["note"]) for one in revisions] == [(2, "Promoted after a trial (canary)."), (1, None)]
    assert lab.report()["trial"]["state"] == "promoted"


def test_a_candidate_that_fails_is_rolled_back_also_while_the_server_is_away(new_lab: Callable[..., Lab]) -> None:
    lab = new_lab()
    change = ('return {"score"', 'if number % 2:\n        raise ValueError("odd")\n    return {"score"')
    candidate, first = lab.candidate(change), lab.deployment["snapshot_id"]
    lab.trial("canary", "--snapshot", candidate, "--weight", "0.5", "--min-requests", "10")
    eventually(lambda: lab.ask(2).headers.get("penstock-snapshot") == candidate, what="the trial is taken up")
    lab.site.kill()
    answers = [lab.ask(number) for number in range(200)]
    by_first = [one for one in answers if one.headers["penstock-snapshot"] == first]
    assert {one.status_code for one in by_first} == {200}
    assert 500 in {one.status_code for one in answers}
    assert {one.headers["penstock-snapshot"] for one in answers[100:]} == {first}
    lab.site.restart()
    report = lab.until(lambda found: found["trial"]["state"] == "rolled_back")
    assert "requests to the candidate failed" in report["trial"]["reason"]
    assert report["trial"]["share"] == 0
    assert report["candidate"]["errors"] > 0
    assert report["first"]["errors"] == 0
    lab.gone(report["trial"]["companion_id"])
    [entry] = lab.site.get("/audit", action="roll_back_trial")["items"]
    assert entry["account"] == "deployment scored"
    assert [one["state"] for one in lab.site.get("/deployments/scored/trials")] == ["rolled_back"]
    assert lab.ask(3).json()["metadata"]["snapshot_id"] == first

    # One that does not come up is told of, and touches nothing; an update ends a trial.
    broken = lab.candidate(
        ("@pipeline(", "def load() -> None:\n    raise OSError('no model')\n\n\n@pipeline(on_init=load, ")
    )
    failed = lab.penstock("deployment", "canary", "scored", "--snapshot", broken, status=None)
    assert failed.returncode != 0
    assert "no model" in failed.stderr
    assert lab.ask(3).status_code == 200
    lab.penstock("deployment", "update", "scored", "--snapshot", candidate)
    assert [one["state"] for one in lab.site.get("/deployments/scored/trials")] == ["superseded", "rolled_back"]
    lab.gone(lab.report()["trial"]["companion_id"])

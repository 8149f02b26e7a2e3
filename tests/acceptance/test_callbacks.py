"""Callbacks: whoever is to be told of the end of a run is told, signed, at least once, and nobody else is reached."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.client.client import Client
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually
from tests.receivers import Receiver, receiver


def secret(site: Site) -> str:
    return str(site.get("/callbacks/secret")["secret"])


def start(site: Site, url: str, *, to: str = "/run_templates/lab/runs", **said: Any) -> Any:
    return site.post(to, {"parameters": said, "callback_url": url})


def callback(site: Site, run_id: str, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = site.get(f"/runs/{run_id}/callbacks")["items"][number]
    return found


def becomes(site: Site, run_id: str, state: str) -> dict[str, Any]:
    eventually(lambda: callback(site, run_id)["state"] == state, what=f"the callback is {state}")
    return callback(site, run_id)


def test_the_end_of_a_run_is_told_signed_and_as_it_is_shown(site: Site) -> None:
    with receiver() as desk:
        run = start(site, f"{desk.url}/hook?token=t", number=3)
        told = becomes(site, run["id"], "delivered")
    assert (told["attempts"], told["status"], told["problem"], told["next_try"]) == (1, 204, None, None)
    assert told["url"] == f"{desk.url}/hook?..."
    [came] = desk.received
    assert (came.path, came.id) == ("/hook?token=t", told["id"])
    content = came.checked(secret(site))
    shown = site.get(f"/runs/{run['id']}")
    assert content == {"type": "run.completed", "timestamp": shown["ended"], "data": shown}
    assert shown["outputs"] == {"output": {"value": 9}}


def test_every_way_in_takes_one_and_every_end_is_told(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    with receiver() as desk:
        failed = start(site, f"{desk.url}/failed", deed="fail")
        snapshot = start(site, f"{desk.url}/snapshot", to=f"/pipeline_snapshots/{failed['snapshot_id']}/runs", number=1)
        body = {"template": "lab", "parameters": {"number": 2}, "callback_url": f"{desk.url}/runs"}
        plain = site.post("/runs", body)
        replayed = site.post(f"/runs/{plain['id']}/replay", {"callback_url": f"{desk.url}/replay"})
        python = Client().trigger_pipeline(
            template_id="lab", run_configuration={"parameters": {"number": 4}}, callback_url=f"{desk.url}/python"
        )
        command = ("run-template", "run", "lab", "-p", "number=5", "--callback-url", f"{desk.url}/cli", "-o", "json")
        typed = json.loads(site.penstock(*command, "--no-wait").stdout)
        cancelled = start(site, f"{desk.url}/cancelled", deed="wait", path=str(tmp_path / "gate"))
        site.reaches(cancelled["id"], ["running"])
        site.post(f"/runs/{cancelled['id']}/cancel")
        ids = {
            "/failed": failed["id"],
            "/snapshot": snapshot["id"],
            "/runs": plain["id"],
            "/replay": replayed["id"],
            "/python": python.id,
            "/cli": typed["id"],
            "/cancelled": cancelled["id"],
        }
        eventually(lambda: len(desk.received) >= len(ids), what="all are told")
    told = {one.path: one.checked(secret(site)) for one in desk.received}
    assert {path: one["data"]["id"] for path, one in told.items()} == ids
    ends = {"/failed": "run.failed", "/cancelled": "run.cancelled"}
    assert {path: one["type"] for path, one in told.items()} == {path: ends.get(path, "run.completed") for path in ids}
    shown = Client().runs.callbacks(python)
    assert [(one.state, one.attempts) for one in shown.items] == [("delivered", 1)]


def test_a_queued_run_that_is_cancelled_is_told_too(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site(PENSTOCK_PARALLEL_RUNS="1")
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    first = site.trigger("lab", {"deed": "wait", "path": str(tmp_path / "gate")})
    site.reaches(first["id"], ["running"])
    with receiver() as desk:
        second = start(site, desk.url)
        assert callback(site, second["id"])["state"] == "waiting"
        site.post(f"/runs/{second['id']}/cancel")
        eventually(lambda: desk.received, what="it is told")
    assert desk.received[0].content["type"] == "run.cancelled"


def test_a_receiver_that_fails_is_tried_again_under_the_same_id(site: Site) -> None:
    with receiver(lambda number: (503, {}) if number == 0 else (200, {})) as desk:
        run = start(site, desk.url)
        failed = eventually(
            lambda: (one := callback(site, run["id"])) and one["status"] == 503 and one, what="the first try is noted"
        )
        assert (failed["state"], failed["attempts"], failed["problem"]) == ("pending", 1, "It answered 503.")
        assert failed["next_try"] > failed["tried"]
        told = becomes(site, run["id"], "delivered")
    assert (told["attempts"], told["status"]) == (2, 200)
    first, second = desk.received
    assert (first.id, first.body) == (second.id, second.body)
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) >= 4


@pytest.mark.parametrize(("status", "state"), [(410, "dead"), (302, "pending")])
def test_gone_is_the_end_and_a_redirect_is_not_followed(site: Site, status: int, state: str) -> None:
    with receiver() as elsewhere, receiver(lambda _: (status, {"Location": f"{elsewhere.url}/x"})) as desk:
        run = start(site, desk.url)
        eventually(lambda: callback(site, run["id"])["status"] == status, what="the try is noted")
        assert callback(site, run["id"])["state"] == state
        assert (len(desk.received), elsewhere.received) == (1, [])


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x",
        "http://user:key@127.0.0.1/",
        "http://127.0.0.1/#part",
        "http://[::1",
        "http:///x",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://exa mple.com/",
        "http://ex\r\nHost: b/",
        "http://" + "a" * 2000,
        "",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://167772161/",
        "http://0x0a000001/",
        "http://012.1/",
        "http://0.0.0.0/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
    ],
)
def test_a_wrong_address_is_refused_and_nothing_is_started(site: Site, url: str) -> None:
    before = site.get("/runs")["total"]
    answer = site.api.post("/run_templates/lab/runs", json={"callback_url": url})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/callback_url"
    assert site.get("/runs")["total"] == before
    assert site.get("/decisions", size=1)["items"][0]["verdict"] == "refused"


def test_a_server_that_others_reach_calls_nothing_of_its_own_machine(new_site: Callable[..., Site]) -> None:
    site = new_site(PENSTOCK_HOSTS="penstock.example.com")
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    with receiver() as desk:
        for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]"):
            url = desk.url.replace("127.0.0.1", host)
            assert site.api.post("/run_templates/lab/runs", json={"callback_url": url}).status_code == 422, host
        assert desk.received == []


def test_what_the_operator_allows_is_called(new_site: Callable[..., Site]) -> None:
    site = new_site(PENSTOCK_HOSTS="penstock.example.com", PENSTOCK_CALLBACK_ALLOW="10.0.0.0/8, 127.0.0.1/32")
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    with receiver() as desk:
        becomes(site, start(site, desk.url)["id"], "delivered")
        assert site.api.post("/run_templates/lab/runs", json={"callback_url": "http://127.0.0.2/"}).status_code == 422


def test_whoever_joins_a_run_is_told_as_well_and_who_comes_late_at_once(site: Site, tmp_path: Path) -> None:
    with receiver() as desk:

        def post(path: str, key: str) -> Any:
            body = {"parameters": {"deed": "wait", "path": str(tmp_path / "gate")}, "callback_url": desk.url + path}
            return site.api.post("/run_templates/lab/runs", json=body, headers={"Idempotency-Key": key})

        run = post("/a", "joined").json()
        for path in ("/a", "/b", "/b"):
            answer = post(path, "joined")
            assert (answer.json()["id"], answer.headers["idempotency-result"]) == (run["id"], "joined")
        (tmp_path / "gate.go").touch()
        site.ended(run["id"])
        assert post("/late", "joined").headers["idempotency-result"] == "replayed"
        eventually(lambda: len(desk.received) >= 3, what="all three are told")
        assert sorted(one.path for one in desk.received) == ["/a", "/b", "/late"]
        assert len({one.id for one in desk.received}) == 3


def test_a_server_that_is_killed_tells_it_when_it_is_there_again(new_site: Callable[..., Site]) -> None:
    """The receiver holds the first request; the server dies with the run's end told to nobody for certain."""
    site = new_site(PENSTOCK_CALLBACK_TIMEOUT="1", PENSTOCK_LEASE="1")
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    held = threading.Event()

    def answer(number: int) -> tuple[int, dict[str, str]]:
        if number == 0:
            held.wait(30)
        return 204, {}

    with receiver(answer) as desk:
        run = start(site, desk.url)
        eventually(lambda: desk.received, what="the first try has begun")
        site.kill()
        held.set()
        site.restart()
        told = becomes(site, run["id"], "delivered")
        assert len(desk.received) == 2
        assert {one.id for one in desk.received} == {told["id"]}
        assert desk.received[1].checked(secret(site))["data"]["id"] == run["id"]


def test_what_is_due_when_the_server_dies_is_told_by_the_next(fresh: Site, tmp_path: Path) -> None:
    """Many runs end while no receiver is there, the server is killed, and each of them is told afterwards."""
    with receiver() as desk:
        runs = [start(fresh, desk.url, deed="wait", path=str(tmp_path / "gate")) for _ in range(8)]
        for run in runs:
            fresh.reaches(run["id"], ["running"])
        (tmp_path / "gate.go").touch()
        eventually(lambda: fresh.get("/runs", state="completed")["total"], what="one has ended")
        fresh.kill()
        fresh.restart()
        for run in runs:
            becomes(fresh, run["id"], "delivered")
        told = {one.content["data"]["id"] for one in desk.received}
        assert told == {run["id"] for run in runs}
        assert len({one.id for one in desk.received}) == len(runs)


def test_it_can_be_sent_again_and_again_from_everywhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    with receiver(lambda number: (410, {}) if number == 0 else (200, {})) as desk:
        run = start(site, desk.url)
        dead = becomes(site, run["id"], "dead")
        assert dead["id"] in [one["id"] for one in site.get("/callbacks", state="dead")["items"]]
        assert site.post(f"/callbacks/{dead['id']}/redeliver", status=202)["state"] == "pending"
        becomes(site, run["id"], "delivered")
        Client().callbacks.redeliver(dead["id"])
        eventually(lambda: len(desk.received) >= 3, what="Python has it sent again")
        becomes(site, run["id"], "delivered")
        site.penstock("callback", "redeliver", dead["id"])
        eventually(lambda: len(desk.received) >= 4, what="the command line has it sent again")
        becomes(site, run["id"], "delivered")
        assert {one.id for one in desk.received} == {dead["id"]}
    listed = site.penstock("callback", "list", "--run", run["name"]).stdout
    assert dead["id"] in listed
    assert "delivered" in listed
    assert run["id"] in site.penstock("callback", "show", dead["id"]).stdout


def test_before_the_end_there_is_nothing_to_send_again(site: Site, tmp_path: Path) -> None:
    with receiver() as desk:
        run = start(site, desk.url, deed="wait", path=str(tmp_path / "gate"))
        waiting = callback(site, run["id"])
        assert (waiting["state"], waiting["attempts"], waiting["next_try"]) == ("waiting", 0, None)
        site.post(f"/callbacks/{waiting['id']}/redeliver", status=409)
        (tmp_path / "gate.go").touch()
        becomes(site, run["id"], "delivered")
    assert site.api.post("/callbacks/nothing/redeliver").status_code == 404


def test_the_secret_is_exchanged_without_a_gap(fresh: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fresh.environment.items():
        monkeypatch.setenv(name, value)

    def told(desk: Receiver) -> Any:
        before = len(desk.received)
        start(fresh, desk.url)
        eventually(lambda: len(desk.received) > before, what="it is told")
        return desk.received[-1]

    first = secret(fresh)
    assert fresh.penstock("callback", "secret").stdout.strip() == first
    with receiver() as desk:
        second = fresh.penstock("callback", "rotate-secret").stdout.strip()
        assert (secret(fresh), second != first) == (second, True)
        both = told(desk)
        assert len(both.headers["webhook-signature"].split()) == 2
        assert both.checked(first) == both.checked(second)
        third = Client().callbacks.rotate_secret(retain_minutes=0).secret
        alone = told(desk)
        assert len(alone.headers["webhook-signature"].split()) == 1
        assert alone.checked(third)
        fresh.kill()
        fresh.restart()
        assert secret(fresh) == third
    operator = fresh.keyed(fresh.key())
    assert operator.get("/callbacks").status_code == 200
    assert operator.get("/callbacks/secret").status_code == 403
    assert operator.post("/callbacks/secret/rotate").status_code == 403


def test_a_slow_receiver_holds_up_nobody_and_a_server_leaves_in_time(fresh: Site) -> None:
    site, held = fresh, threading.Event()

    def answer(_: int) -> tuple[int, dict[str, str]]:
        held.wait(60)
        return 204, {}

    with receiver(answer) as slow, receiver() as quick:
        runs = [start(site, slow.url.replace("127.0.0.1", "localhost"), number=one) for one in range(8)]
        assert site.process is not None
        for run in runs:
            site.ended(run["id"])
        run = start(site, quick.url)
        becomes(site, run["id"], "delivered")
        site.process.send_signal(signal.SIGTERM)
        assert site.process.wait(10) == 0
        held.set()
        site.restart()
        for one in runs:
            becomes(site, one["id"], "delivered")

"""How many runs go on, wait and come in, and which is next; and a machine that tries it in every order."""

from __future__ import annotations

import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.model.limits import AGING
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually


@pytest.fixture
def limited(site: Site, request: pytest.FixtureRequest) -> str:
    """A template for this test alone."""
    name = request.node.name.replace("_", "-")[5:60]
    site.template(f"{PIPELINES / 'lab.py'}:lab", name)
    return name


def limit(site: Site, name: str, status: int = 200, **limits: Any) -> Any:
    answer = site.api.put(f"/run_templates/{name}/terms", json={"limits": limits})
    assert answer.status_code == status, answer.text
    return answer.json()


def held(site: Site, name: str, path: Path, number: int = 2) -> dict[str, Any]:
    """A run that goes on until `path`.go is there."""
    return site.trigger(name, {"deed": "wait", "number": number, "path": str(path)})


def begun(site: Site, run: dict[str, Any]) -> None:
    eventually(lambda: site.get(f"/runs/{run['id']}")["state"] == "running", what="the run begins")


def state(site: Site, run: dict[str, Any]) -> Any:
    return site.get(f"/runs/{run['id']}")["state"]


def release(path: Path) -> None:
    Path(f"{path}.go").touch()


def test_one_at_a_time_while_another_template_goes_on(site: Site, limited: str, tmp_path: Path) -> None:
    limit(site, limited, concurrency=1)
    first = held(site, limited, tmp_path / "a")
    begun(site, first)
    second = held(site, limited, tmp_path / "b")
    assert site.ended(site.trigger("lab")["id"])["state"] == "completed"
    assert state(site, second) == "queued"
    release(tmp_path / "a")
    ended = site.ended(first["id"])
    begun(site, second)
    assert ended["state"] == "completed"
    release(tmp_path / "b")
    assert site.ended(second["id"])["state"] == "completed"


def test_a_limit_for_each_value_of_a_key(site: Site, limited: str, tmp_path: Path) -> None:
    limit(site, limited, concurrency=1, concurrency_key="parameters.number")
    one = held(site, limited, tmp_path / "a", 1)
    begun(site, one)
    again, other = held(site, limited, tmp_path / "a", 1), held(site, limited, tmp_path / "a", 2)
    begun(site, other)
    assert state(site, again) == "queued"
    limit(site, limited, concurrency=2, concurrency_key="parameters.number")
    begun(site, again)  # a limit that was raised holds for those that wait
    release(tmp_path / "a")
    for run in (one, again, other):
        assert site.ended(run["id"])["state"] == "completed"


def test_a_full_queue_refuses(site: Site, limited: str, tmp_path: Path) -> None:
    limit(site, limited, concurrency=1, queue=1)
    first = held(site, limited, tmp_path / "a")
    begun(site, first)
    second = held(site, limited, tmp_path / "a")
    answer = site.api.post(f"/run_templates/{limited}/runs", json={})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    problem = answer.json()
    assert problem["type"].endswith("too-many-requests")
    assert problem["errors"][0]["pointer"] == "/terms/limits/queue"
    assert first["name"] in problem["detail"]
    assert site.get("/runs", template=limited)["total"] == 2  # a refusal leaves no run
    release(tmp_path / "a")
    for run in (first, second):
        assert site.ended(run["id"])["state"] == "completed"
    assert site.ended(site.trigger(limited)["id"])["state"] == "completed"


def test_a_rate_says_when_to_come_back(site: Site, limited: str) -> None:
    limit(site, limited, rate={"limit": 2, "per": 3})
    for _ in range(2):
        site.trigger(limited)
    answer = site.api.post(f"/run_templates/{limited}/runs", json={})
    assert answer.status_code == 429
    wait = int(answer.headers["retry-after"])
    assert 1 <= wait <= 3
    assert site.get("/runs", template=limited)["total"] == 2
    time.sleep(wait)  # slow: what was told must be true
    assert site.ended(site.trigger(limited)["id"])["state"] == "completed"


def test_priority_overtakes_and_the_others_still_run(site: Site, limited: str, tmp_path: Path) -> None:
    limit(site, limited, concurrency=1)
    first = held(site, limited, tmp_path / "a")
    begun(site, first)
    runs = [site.post(f"/run_templates/{limited}/runs", {"priority": priority}) for priority in (-100, 0, 0, 5)]
    release(tmp_path / "a")
    ended = [site.ended(run["id"]) for run in runs]
    order = sorted(range(4), key=lambda number: ended[number]["started"])
    assert order == [3, 1, 2, 0]
    wrong = site.api.post(f"/run_templates/{limited}/runs", json={"priority": 101})
    assert wrong.status_code == 422
    assert "priority" in wrong.text


def test_wrong_limits_are_refused(site: Site, limited: str) -> None:
    wrong = limit(site, limited, 422, concurrency=1, concurrency_key="parameters.numbr")
    assert wrong["errors"][0]["pointer"] == "/terms/limits/concurrency_key"
    assert wrong["errors"][0]["did_you_mean"] == "parameters.number"
    assert limit(site, limited, 422, concurency=1)["errors"][0]["pointer"].endswith("/limits/concurency")
    assert "/limits" in limit(site, limited, 422, concurrency=0)["errors"][0]["pointer"]


def test_a_run_says_what_it_waits_for_and_who_holds_it(site: Site, tmp_path: Path) -> None:
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab-why")
    site.api.put("/run_templates/lab-why/terms", json={"limits": {"concurrency": 1}})
    first = site.trigger("lab-why", {"deed": "wait", "path": str(tmp_path / "gate")})
    site.reaches(first["id"], ["running"])
    second, third = site.trigger("lab-why"), site.trigger("lab-why")
    told = site.get(f"/runs/{third['id']}/why")
    assert [one["kind"] for one in told["blockers"]] == ["limit", "queue"]
    assert [one["name"] for one in told["blockers"][0]["holders"]] == [first["name"]]
    assert "takes 1 at once" in site.penstock("run", "why", second["name"]).stdout
    eventually(lambda: "act" in site.get(f"/runs/{first['id']}/why")["summary"], what="its step is told")
    (tmp_path / "gate.go").touch()
    for run in (first, second, third):
        assert site.ended(run["id"])["state"] == "completed"
        assert site.get(f"/runs/{run['id']}/why")["summary"] == "It has completed."
    assert site.api.get("/runs/nobody/why").status_code == 404


def test_one_at_a_time_is_joined_by_those_who_want_the_same(site: Site, limited: str, tmp_path: Path) -> None:
    limit(site, limited, singleton="join")
    wanted = {"deed": "wait", "path": str(tmp_path / "gate")}
    first = site.trigger(limited, wanted)
    again = site.api.post(f"/run_templates/{limited}/runs", json={"parameters": wanted})
    assert (again.json()["id"], again.headers["idempotency-result"]) == (first["id"], "joined")
    other = site.api.post(f"/run_templates/{limited}/runs", json={"parameters": {**wanted, "number": 3}})
    assert (other.status_code, other.json()["type"]) == (409, "urn:penstock:problem:already-running")
    assert first["name"] in other.json()["detail"]
    limit(site, limited, singleton="refuse")
    assert site.api.post(f"/run_templates/{limited}/runs", json={"parameters": wanted}).status_code == 409
    (tmp_path / "gate.go").touch()
    site.ended(first["id"])
    assert site.ended(site.trigger(limited)["id"])["state"] == "completed"
    assert site.get("/runs", template=limited)["total"] == 2


def test_one_at_a_time_of_many_who_come_at_once(site: Site, limited: str, tmp_path: Path) -> None:
    limit(site, limited, singleton="join")
    wanted = {"parameters": {"deed": "wait", "path": str(tmp_path / "gate")}}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: site.api.post(f"/run_templates/{limited}/runs", json=wanted), range(32)))
    assert len({one.json()["id"] for one in answers}) == 1
    (tmp_path / "gate.go").touch()
    site.ended(answers[0].json()["id"])


def test_of_many_that_come_shortly_after_each_other_the_last_is_carried_out(site: Site, limited: str) -> None:
    limit(site, limited, debounce={"delay": 1.5})
    runs = [site.trigger(limited, {"number": number}) for number in range(4)]
    assert site.get(f"/runs/{runs[3]['id']}/why")["blockers"][0]["kind"] == "delay"
    ended = [site.ended(run["id"]) for run in runs]
    assert [run["state"] for run in ended] == ["cancelled"] * 3 + ["completed"]
    assert runs[1]["name"] in ended[0]["reason"]
    assert moment(ended[3]["started"]) - moment(ended[3]["created"]) >= timedelta(seconds=1.5)


def test_a_run_is_not_put_off_for_ever_by_those_that_come_after(site: Site, limited: str) -> None:
    limit(site, limited, debounce={"delay": 30, "most": 31})
    first = site.trigger(limited)
    second = site.trigger(limited)
    until = site.get(f"/runs/{second['id']}/why")["blockers"][0]["detail"]
    latest = moment(first["created"]) + timedelta(seconds=31)
    assert f"{latest:%H:%M:%S}" in until or f"{latest - timedelta(seconds=1):%H:%M:%S}" in until
    assert site.ended(first["id"])["state"] == "cancelled"
    site.post(f"/runs/{second['id']}/cancel")


def test_a_rate_may_put_runs_off_instead_of_refusing_them(site: Site, limited: str) -> None:
    limit(site, limited, rate={"limit": 2, "per": 2, "mode": "delay"})
    runs = [site.ended(site.trigger(limited)["id"]) for _ in range(2)]
    runs += [site.ended(run["id"]) for run in [site.trigger(limited) for _ in range(3)]]
    starts = [moment(run["started"]) for run in runs]
    created = [moment(run["created"]) for run in runs]
    assert [run["state"] for run in runs] == ["completed"] * 5
    assert starts[2] >= created[0] + timedelta(seconds=2)
    assert starts[3] >= created[1] + timedelta(seconds=2)
    assert starts[4] >= created[0] + timedelta(seconds=4)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _lines(path: Path) -> int:
    """What runs have written there: a line each. A file is there before the line is."""
    return len(path.read_text().splitlines()) if path.exists() else 0


@dataclass
class Held:
    """A run as the machine knows it. It has begun when there is a file at `path`, which its own step has written."""

    id: str
    number: int
    turn: datetime
    path: Path
    state: str = "queued"


class Queue(RuleBasedStateMachine):
    """Runs under a limit for each of two numbers, against the live application and a model of the queue."""

    site: Site

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pk-queue-"))
        self.runs: list[Held] = []
        self.limit_to(1)

    @rule(most=st.integers(1, 2))
    def limit_to(self, most: int) -> None:
        self.most = most
        limit(self.site, "lab", concurrency=most, concurrency_key="parameters.number")
        self.let_in()

    @rule(
        asked=st.lists(st.tuples(st.integers(1, 2), st.sampled_from([0, 50])), min_size=2, max_size=4),
    )
    def trigger(self, asked: list[tuple[int, int]]) -> None:
        """Several at once: which of them is first, the server says."""
        paths = [self.directory / str(len(self.runs) + place) for place in range(len(asked))]

        def send(one: tuple[int, int], path: Path) -> Held:
            number, priority = one
            given = {"deed": "wait", "number": number, "path": str(path)}
            run = self.site.post("/run_templates/lab/runs", {"parameters": given, "priority": priority})
            turn = datetime.fromisoformat(run["created"]) - timedelta(seconds=AGING * priority)
            return Held(run["id"], number, turn, path)

        with ThreadPoolExecutor(4) as pool:
            new = list(pool.map(send, asked, paths))
        # What goes on is not called back, whoever comes after it: of those that came at once any may have been first.
        free = {number: self.most - len(self.those("running", number)) for number in (1, 2)}
        self.runs += new
        for number in (1, 2):
            mine = [one for one in new if one.number == number]
            if len(mine) > free[number] > 0:
                begun = eventually(lambda: self.begun(mine, free[number]), what="as many as there is room for")  # noqa: B023
                for one in begun:
                    one.state = "running"
        self.let_in()

    @precondition(lambda self: self.those("running"))
    @rule(place=st.integers(0, 20))
    def let_go(self, place: int) -> None:
        self.end(self.those("running"), place, "completed")

    @precondition(lambda self: self.those("running") + self.those("queued"))
    @rule(place=st.integers(0, 20))
    def cancel(self, place: int) -> None:
        self.end(self.those("running") + self.those("queued"), place, "cancelled")

    @invariant()
    def what_goes_on_is_what_should(self) -> None:
        """Who has begun is told by the runs themselves; how they stand, by the server."""
        wanted = {one.id: one.state for one in self.runs}

        def stands() -> bool:
            told = self.site.get("/runs", template="lab", size=200)["items"]
            found = {one["id"]: one["state"] for one in told if one["id"] in wanted}
            assert found.keys() == wanted.keys()
            for number in (1, 2):
                ours = [one for one in told if one["parameters"]["number"] == number and one["id"] in wanted]
                active = sum(one["state"] not in {"queued", "completed", "cancelled"} for one in ours)
                assert active <= max(self.most, len(self.those("running", number)))
            return found == wanted

        eventually(stands, what="every run stands as the model has it")
        for one in self.runs:
            if one.state == "queued":
                assert not one.path.exists(), "it has begun before its turn"
            elif one.state == "running":
                eventually(lambda: _lines(one.path), what="it begins")  # noqa: B023  # it is called here
            assert _lines(one.path) <= 1, "it was carried out twice"

    def those(self, state: str, number: int | None = None) -> list[Held]:
        return [one for one in self.runs if one.state == state and number in (None, one.number)]

    def begun(self, runs: list[Held], many: int) -> list[Held] | None:
        found = [one for one in runs if self.site.get(f"/runs/{one.id}")["state"] != "queued"]
        return found if len(found) == many else None

    def let_in(self) -> None:
        """Those who wait are let in where there is room, in their turn."""
        for one in sorted(self.those("queued"), key=lambda one: (one.turn, one.id)):
            if len(self.those("running", one.number)) < self.most:
                one.state = "running"

    def end(self, runs: list[Held], place: int, state: str) -> None:
        if not runs:
            return
        one = runs[place % len(runs)]
        if state == "completed":
            eventually(lambda: _lines(one.path), what="it begins")
            release(one.path)
        else:
            self.site.post(f"/runs/{one.id}/cancel")
        assert self.site.ended(one.id)["state"] == state
        one.state = state
        self.let_in()

    def teardown(self) -> None:
        for one in getattr(self, "runs", ()):
            if one.state in ("queued", "running"):
                self.site.api.post(f"/runs/{one.id}/cancel")
        for one in getattr(self, "runs", ()):
            self.site.ended(one.id)
        shutil.rmtree(getattr(self, "directory", ""), ignore_errors=True)


def test_in_every_order_as_many_go_on_as_may_and_each_in_its_turn(fresh: Site) -> None:
    kind = type("QueueOfThisSite", (Queue,), {"site": fresh})
    kind.TestCase.settings = settings(
        max_examples=6,
        stateful_step_count=15,
        phases=[Phase.generate],  # to make a failure smaller is to wait for it again and again
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    kind.TestCase().runTest()

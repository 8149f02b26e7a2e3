from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

RUN_ID = "01900000-0000-7000-8000-000000000001"
AT = "2025-01-01T00:00:00Z"


class TestList:
    def test_a_row_is_a_line_with_whole_ids(self, penstock: Any, server: Any, run_json: Any) -> None:
        long = "a-name-that-no-terminal-of-eighty-columns-can-show-on-a-line-together-with-the-rest"
        server.on(
            "GET", "/runs", {"items": [run_json(name=long, template_name="daily", template_version=3)], "total": 1}
        )
        head, row = penstock("run", "list").stdout.splitlines()
        assert head.split() == ["NAME", "STATE", "PIPELINE", "TEMPLATE", "CREATED", "TOOK", "ID"]
        assert long in row
        assert row.endswith(RUN_ID)
        assert "daily@v3" in row
        assert "2.0 s" in row

    def test_filters_are_sent(self, penstock: Any, server: Any) -> None:
        server.on("GET", "/runs", {"items": [], "total": 0})
        done = penstock("run", "list", "--state", "failed", "--pipeline", "train", "--tag", "x", "--size", "5")
        assert server.asked[0].query == {"size": "5", "state": "failed", "pipeline": "train", "tag": "x"}
        assert (done.status, done.stdout, done.stderr) == (0, "", "No runs.\n")

    def test_json_is_the_page_and_nothing_else(self, penstock: Any, server: Any, run_json: Any) -> None:
        server.on("GET", "/runs", {"items": [run_json()], "total": 9, "page": 1, "size": 1, "next": "c"})
        page = penstock("run", "list", "-o", "json").json
        assert (page["total"], page["next"], page["items"][0]["id"]) == (9, "c", RUN_ID)

    def test_says_how_to_go_on(self, penstock: Any, server: Any, run_json: Any) -> None:
        server.on("GET", "/runs", {"items": [run_json()], "total": 9, "next": "c"})
        assert penstock("run", "list").stderr == "1 of 9. The next ones: --cursor c\n"

    def test_what_a_terminal_would_obey_is_shown_instead(self, penstock: Any, server: Any, run_json: Any) -> None:
        server.on("GET", "/runs", {"items": [run_json(name="[red]x\x1b[2J\n")]})
        assert "[red]x\\x1b[2J" in penstock("run", "list").stdout


class TestShow:
    def test_values_with_their_origin_and_steps(self, penstock: Any, server: Any, run_json: Any) -> None:
        step = {"id": "1", "run_id": RUN_ID, "step": "fit", "name": "fit", "state": "completed", "created": AT}
        server.on(
            "GET",
            "/runs/train-1",
            run_json(
                parameters={"lr": 0.1},
                step_parameters={"fit": {"depth": 3}},
                origins={"/parameters/lr": "default", "/steps/fit/parameters/depth": "request"},
                outputs={"score": 0.93, "model": {"artifact": "a1", "type": "m.Model"}},
            ),
        )
        server.on("GET", f"/runs/{RUN_ID}/steps", {"items": [{**step, "outputs": {"output": "a1"}}]})
        shown = penstock("run", "show", "train-1").stdout
        assert "lr = 0.1  (default)" in shown
        assert "fit.depth = 3  (request)" in shown
        assert "model = artifact a1 (m.Model)" in shown
        assert "output=a1" in shown.splitlines()[-1]

    def test_json_is_the_run(self, penstock: Any, server: Any, run_json: Any) -> None:
        server.on("GET", "/runs/train-1", run_json())
        assert penstock("run", "show", "train-1", "--output", "json").json["name"] == "train-1"
        assert len(server.asked) == 1


class TestSteps:
    def test_table_and_json(self, penstock: Any, server: Any) -> None:
        step = {"id": "1", "run_id": RUN_ID, "step": "fit", "name": "fit", "state": "failed", "created": AT}
        error = {"type": "ValueError", "message": "bad"}
        server.on("GET", "/runs/train-1/steps", {"items": [{**step, "error": error}]})
        assert penstock("run", "steps", "train-1").stdout.splitlines()[1].split() == ["fit", "failed", "bad"]
        assert penstock("run", "steps", "train-1", "-o", "json").json["items"][0]["error"]["type"] == "ValueError"


class TestLogs:
    @pytest.fixture
    def lines(self) -> Callable[..., dict[str, Any]]:
        def make(*texts: str, next: int, ended: bool = False) -> dict[str, Any]:
            lines = [{"at": AT, "stream": "stdout", "text": text, "step": "fit"} for text in texts]
            return {"run_id": RUN_ID, "lines": lines, "next": next, "ended": ended}

        return make

    def test_all_that_is_there(self, penstock: Any, server: Any, lines: Any) -> None:
        server.on("GET", "/runs/train-1/logs", lines("one", "two", next=2), lines("three", next=3), lines(next=3))
        assert penstock("run", "logs", "train-1").stdout == "fit | one\nfit | two\nfit | three\n"
        assert [one.query["after"] for one in server.asked] == ["0", "2", "3"]
        assert "prefer" not in server.asked[0].headers

    def test_of_one_step_they_stand_alone(self, penstock: Any, server: Any, lines: Any) -> None:
        server.on("GET", "/runs/train-1/logs", lines("one", next=1), lines(next=1, ended=True))
        assert penstock("run", "logs", "train-1", "--step", "fit").stdout == "one\n"
        assert server.asked[0].query["step"] == "fit"

    def test_following_waits_for_the_end(self, penstock: Any, server: Any, lines: Any) -> None:
        server.on("GET", "/runs/train-1/logs", lines(next=0), lines("late", next=1), lines(next=1, ended=True))
        assert penstock("run", "logs", "-f", "train-1").stdout == "fit | late\n"
        assert {one.headers["prefer"] for one in server.asked} == {"wait=30"}

    def test_json_is_an_object_on_each_line(self, penstock: Any, server: Any, lines: Any) -> None:
        server.on("GET", "/runs/train-1/logs", lines("one", "two", next=2), lines(next=2, ended=True))
        printed = penstock("run", "logs", "train-1", "-o", "json").stdout.splitlines()
        assert [json.loads(line)["text"] for line in printed] == ["one", "two"]


def test_cancel(penstock: Any, server: Any, run_json: Any) -> None:
    server.on("POST", "/runs/train-1/cancel", run_json("cancelling"))
    assert "cancelling" in penstock("run", "cancel", "train-1").stdout


class TestWait:
    @pytest.mark.parametrize(("state", "status"), [("completed", 0), ("failed", 1), ("cancelled", 1)])
    def test_the_exit_status_tells(self, penstock: Any, server: Any, run_json: Any, state: str, status: int) -> None:
        server.on("GET", "/runs/train-1", run_json(state))
        assert penstock("run", "wait", "train-1").status == status

    def test_with_a_timeout(self, penstock: Any, server: Any, run_json: Any) -> None:
        server.on("GET", "/runs/train-1", run_json("running", ended=None))
        done = penstock("run", "wait", "train-1", "--timeout", "0")
        assert (done.status, done.stderr) == (1, "Error: Run train-1 has not ended within 0 s: it is running.\n")

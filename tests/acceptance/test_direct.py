"""Pipelines called as functions, with nothing started by hand."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.acceptance.site_under_test import Site, eventually

SCRIPT = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from penstock import pipeline, step

@step
def double(x: int) -> int:
    return 2 * x

@step
def add(x: int, y: int) -> int:
    return x + y

@step
def text(x: int, word: str) -> str:
    return f"{word}{x}"

@pipeline
def one(x: int) -> int:
    return double(x)

@pipeline
def two(x: int) -> int:
    return add(double(x), double(x + 1) if x < 0 else double(x))

@pipeline
def three(x: int, word: str = "w"):
    return text(double(x), word)

@pipeline
def four(x: int) -> int:
    value = double(x)
    for _ in range(value.load() % 3):
        value = add(value, 1)
    return value

def expected(name, x):
    doubled = 2 * x
    return {"one": doubled, "two": 2 * doubled, "three": f"w{doubled}", "four": doubled + doubled % 3}[name]
"""

THREADS = (
    SCRIPT
    + """
if __name__ == "__main__":
    pipelines = [one, two, three, four]
    work = [(pipelines[i % 4], i) for i in range(32)]
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda item: item[0](x=item[1]), work))
    for (made, x), run in zip(work, runs, strict=True):
        assert run.state == "completed", run
        assert run.parameters["x"] == x, run
        assert run.outputs == {"output": expected(made.name, x)}, (made.name, x, run.outputs)
    assert len({run.id for run in runs}) == 32
    print(json.dumps([run.id for run in runs]))
"""
)


def run_script(home: Path, directory: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = directory / "script.py"
    script.write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    return subprocess.run(
        [sys.executable, str(script)],
        env={**clean, "PENSTOCK_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def site_of_home(home: Path) -> Site:
    """The home as a site whose server is started by whoever comes first."""
    return Site(home)


def test_the_first_use_starts_the_server_and_down_leaves_nothing(site_of_home: Site, tmp_path: Path) -> None:
    text = SCRIPT + "\nrun = one(x=4)\nprint(run.outputs)\n"
    first = run_script(site_of_home.home, tmp_path, text)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "{'output': 8}\n"
    assert "started the server" in first.stderr
    second = run_script(site_of_home.home, tmp_path, text)
    assert second.stdout == "{'output': 8}\n"
    assert "started the server" not in second.stderr
    told = json.loads(site_of_home.penstock("status", "--output", "json").stdout)
    assert told["home"] == str(site_of_home.home)
    site_of_home.penstock("down")
    eventually(lambda: not site_of_home.processes(), what="every process of this home is gone", patience=10)
    assert "3" in str(site_of_home.penstock("status", status=None).returncode)


def test_down_stops_what_a_killed_server_has_left(site_of_home: Site, tmp_path: Path) -> None:
    site = site_of_home
    lab = f"{Path(__file__).parent / 'pipelines' / 'lab.py'}:lab"
    site.penstock("pipeline", "run", lab, "--param", "deed=wait", "--param", f"path={tmp_path / 'm'}", "--no-wait")
    eventually((tmp_path / "m").exists, what="the step has begun")
    psutil.Process(json.loads((site.home / "server.json").read_text())["pid"]).kill()
    refused = site.penstock("down", status=None)
    assert refused.returncode != 0
    assert "under way" in refused.stderr
    site.penstock("down", "--cancel")
    eventually(lambda: not site.processes(), what="every process of this home is gone", patience=15)


def test_eight_threads_call_four_pipelines_at_once(site_of_home: Site, tmp_path: Path) -> None:
    done = run_script(site_of_home.home, tmp_path, THREADS)
    try:
        assert done.returncode == 0, done.stderr
        ids = json.loads(done.stdout)
        listed = json.loads(site_of_home.penstock("run", "list", "--output", "json", "--size", "100").stdout)
        assert {run["id"] for run in listed["items"]} == set(ids)
    finally:
        site_of_home.penstock("down")


def test_two_processes_that_start_at_the_same_instant_get_one_server(site_of_home: Site, tmp_path: Path) -> None:
    directories = [tmp_path / str(number) for number in range(4)]
    for directory in directories:
        directory.mkdir()
    text = SCRIPT + "\nfrom penstock import Client\none(x=1)\nprint(Client().server.info().pid)\n"
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda directory: run_script(site_of_home.home, directory, text), directories))
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    assert len({one.stdout for one in done}) == 1
    assert sum("started the server" in one.stderr for one in done) == 1
    site_of_home.penstock("down")


def test_what_a_step_raises_reaches_the_caller(site_of_home: Site, tmp_path: Path) -> None:
    text = (
        "from penstock import pipeline, step\n@step\ndef bad(x: int) -> int:\n    return 1 // x\n"
        "@pipeline\ndef p(x: int = 0):\n    return bad(x)\n"
        "try:\n    p()\nexcept ZeroDivisionError as error:\n    print('caught', error.__notes__)\n"
    )
    done = run_script(site_of_home.home, tmp_path, text)
    assert done.returncode == 0, done.stderr
    assert "penstock run show p-" in done.stdout
    listed = json.loads(site_of_home.penstock("run", "list", "--output", "json").stdout)["items"]
    assert [(run["state"], run["error"]["type"]) for run in listed] == [("failed", "ZeroDivisionError")]
    site_of_home.penstock("down")


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = run_script(blocked / "home", tmp_path, SCRIPT + "\none(x=1)\n")
    assert done.returncode != 0
    assert "cannot use its home" in done.stderr
    assert "PENSTOCK_HOME" in done.stderr


def test_an_older_server_is_replaced_and_its_run_goes_on(site_of_home: Site, tmp_path: Path) -> None:
    site = site_of_home
    site.template(f"{Path(__file__).parent / 'pipelines' / 'lab.py'}:lab", "lab")
    site.start = lambda: site  # type: ignore[method-assign]  # the background server of this home is used
    marker = tmp_path / "m"
    started = site.penstock(
        "run-template",
        "run",
        "lab",
        "--param",
        "deed=wait",
        "--param",
        f"path={marker}",
        "--no-wait",
        "--output",
        "json",
    )
    run = json.loads(started.stdout)
    eventually(marker.exists, what="the step has begun")
    told = site.home / "server.json"
    content = json.loads(told.read_text())
    old = content["pid"]
    told.write_text(json.dumps({**content, "version": "0.0.1"}))  # as an older Penstock would have written it
    site.penstock("run", "list")
    assert json.loads(told.read_text())["pid"] != old
    (tmp_path / "m.go").touch()
    site.penstock("run", "wait", run["id"])
    ended = json.loads(site.penstock("run", "show", run["id"], "--output", "json").stdout)
    assert ended["state"] == "completed"
    assert len(marker.read_text().splitlines()) == 1
    site.penstock("down")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """On a real file system that is full: the home is named, and what to do."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system takes root")
    try:
        with contextlib.suppress(OSError), (place / "fill").open("wb") as file:
            while True:
                file.write(b"x" * 1024)
                file.flush()
        done = run_script(place / "home", tmp_path, SCRIPT + "\none(x=1)\n")
        assert done.returncode != 0
        assert "full" in done.stderr.splitlines()[-1]
        assert str(place / "home") in done.stderr
        assert not Site(place / "home").processes()
    finally:
        subprocess.run(["umount", str(place)], check=True)

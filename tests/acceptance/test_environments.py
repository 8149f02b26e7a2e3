"""Runs in environments of their own: what a snapshot requires is there, or the run says why it is not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
from uv import find_uv_bin

from tests.acceptance.site_under_test import Site, eventually
from tests.wheelhouse import our_metadata, our_wheel, tiny, wheelhouse

PIPELINES = """
    import os
    from penstock import pipeline, step

    @step
    def look() -> str:
        import tiny
        return f"{tiny.VERSION} {os.getppid()}"

    @step
    def wait_for(gate: str) -> str:
        import time
        while not os.path.exists(gate):
            time.sleep(0.01)
        return "done"

    @pipeline(requirements=["tiny==1"])
    def one():
        return look()

    @pipeline(requirements=["tiny==2"])
    def two():
        return look()

    @pipeline(requirements=["tiny==1"])
    def one_waits(gate: str):
        return wait_for(gate)

    @pipeline(requirements=["tiny==9"])
    def nine():
        return look()

    @pipeline(requirements=["packaging"], python=">=3.11")
    def here():
        return wait_for("/")

    @pipeline(python="==2.7.*")
    def ancient():
        return look()
    """


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return our_metadata(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, metadata: Path) -> Path:
    folder = wheelhouse(tmp_path_factory.mktemp("wheels"), metadata)
    for version in ("1", "2"):
        tiny(folder, version)
    return folder


@pytest.fixture(scope="module")
def settings(wheels: Path, metadata: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where uv finds packages: in a folder, and nowhere else."""
    cache = tmp_path_factory.mktemp("uv")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(metadata)]))
    return {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(wheels), "UV_CACHE_DIR": str(cache), "PYTHONPATH": path}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "flows.py").write_text(dedent(PIPELINES))
    return folder


@pytest.fixture(scope="module")
def site(settings: dict[str, str], project: Path) -> Iterator[Site]:
    home = Path(tempfile.mkdtemp(prefix="pk-"))
    running = Site(home, **settings).start()
    for name in ("one", "two", "one_waits", "nine", "here", "ancient"):
        running.template(f"{project / 'flows.py'}:{name}", name)
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)


def kept(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.penstock("environment", "list", "-o", "json").stdout)["items"]
    return found


def builders(site: Site) -> list[psutil.Process]:
    found = []
    for one in site.processes():
        with suppress(psutil.Error):
            if "penstock.runtime.builder" in one.cmdline():
                found.append(one)
    return found


def test_runs_of_both_at_once_see_their_own(site: Site) -> None:
    begun = [site.trigger(name) for name in ("one", "two", "one", "two")]
    ended = [site.ended(run["id"]) for run in begun]
    assert [run["state"] for run in ended] == ["completed"] * 4, ended
    assert [run["outputs"]["output"].split()[0] for run in ended] == ["1", "2", "1", "2"]
    versions = sorted(next(line for line in one["packages"] if line.startswith("tiny")) for one in kept(site))
    assert versions == ["tiny==1", "tiny==2"]
    told = site.lines(ended[0]["id"])
    assert any("It is preparing an environment" in line and "tiny is not installed" in line for line in told), told
    assert any("it runs in environment" in line for line in told)
    again = site.ended(site.trigger("one")["id"])
    assert any("it runs in environment" in line for line in site.lines(again["id"]))
    # A fork of the parent that is warm in that environment.
    assert again["outputs"]["output"].split()[1] in {run["outputs"]["output"].split()[1] for run in ended}


def test_where_the_interpreter_fits_nothing_is_built(site: Site) -> None:
    before = kept(site)
    run = site.ended(site.trigger("here")["id"])
    assert run["state"] == "completed"
    assert site.lines(run["id"]) == []
    assert [one["digest"] for one in kept(site)] == [one["digest"] for one in before]


@pytest.mark.parametrize(
    ("name", "told"),
    [("nine", "there is no version of tiny==9"), ("ancient", "no Python could be had here that fits ==2.7.*")],
)
def test_what_cannot_be_had_fails_the_run_and_is_told(site: Site, name: str, told: str) -> None:
    run = site.ended(site.trigger(name)["id"])
    assert run["state"] == "failed"
    assert run["error"]["type"] == "EnvironmentFailed"
    assert told in run["error"]["message"]
    assert "replay" in run["error"]["message"]
    assert any("$ uv venv" in line for line in site.lines(run["id"]))
    assert told in site.get(f"/runs/{run['id']}/why")["summary"]
    assert not list((site.home / "environments").glob(".building-*"))


def test_an_environment_that_is_used_stays_and_one_that_is_not_goes(
    new_site: Callable[..., Site], settings: dict[str, str], project: Path, tmp_path: Path
) -> None:
    site = new_site(**settings, PENSTOCK_WARM_PARENTS="0")
    for name in ("one_waits", "two", "here"):
        site.template(f"{project / 'flows.py'}:{name}", name)
    built = json.loads(site.penstock("environment", "build", "two", "-o", "json").stdout)
    assert built["built"]
    assert not json.loads(site.penstock("environment", "build", "two@v1", "-o", "json").stdout)["built"]
    assert "has what it requires" in site.penstock("environment", "build", "here").stderr
    gate = tmp_path / "gate"
    run = site.post("/run_templates/one_waits/runs", {"parameters": {"gate": str(gate)}})["id"]
    site.reaches(run, ["running"])
    rehearsed = json.loads(
        site.penstock("environment", "prune", "--unused-days", "0", "--dry-run", "-o", "json").stdout
    )
    assert [one["digest"] for one in rehearsed["items"]] == [built["environment"]["digest"]]
    assert len(kept(site)) == 2
    assert site.penstock("environment", "prune").stdout.count("\n") <= 1, "both were used today"
    site.penstock("environment", "prune", "--unused-days", "0")
    [left] = kept(site)
    assert left["in_use"]
    assert "tiny==1" in left["packages"]
    assert "tiny==1" in site.penstock("environment", "show", left["digest"][:8]).stdout
    assert "begins with" in site.penstock("environment", "show", "ffff", status=1).stderr
    gate.touch()
    assert site.ended(run)["state"] == "completed"
    eventually(lambda: not kept(site)[0]["in_use"], what="nobody uses it any more")
    site.penstock("environment", "prune", "--unused-days", "0")
    assert kept(site) == []
    assert site.ended(site.trigger("two")["id"])["state"] == "completed", "it is built again"


def test_an_environment_is_used_again_without_uv_and_without_one_that_is_told(
    new_site: Callable[..., Site], settings: dict[str, str], project: Path
) -> None:
    site = new_site(**settings)
    for name in ("one", "two"):
        site.template(f"{project / 'flows.py'}:{name}", name)
    assert site.ended(site.trigger("one")["id"])["state"] == "completed"
    site.stop()
    site.environment["PENSTOCK_UV"] = "/nowhere/uv"
    site.start()
    assert site.ended(site.trigger("one")["id"])["state"] == "completed"
    failed = site.ended(site.trigger("two")["id"])
    assert "there is no uv at /nowhere/uv" in failed["error"]["message"]
    assert "penstock[environments]" in failed["error"]["message"]


def test_what_is_required_is_shown_compared_planned_and_checked(site: Site, project: Path) -> None:
    both = site.penstock(
        "pipeline", "create-run-template", f"{project / 'flows.py'}:two", "--name", "pair", "-o", "json"
    )
    site.penstock("pipeline", "create-run-template", f"{project / 'flows.py'}:two", "--name", "pair")
    snapshot = json.loads(both.stdout)["versions"][0]["snapshot_id"]
    assert "tiny==2" in site.penstock("pipeline", "snapshot", "show", snapshot).stdout
    assert "It requires tiny==2." in site.penstock("run-template", "run", "pair", "--plan").stderr
    first, second = (site.ended(site.trigger(name)["id"]) for name in ("one", "two"))
    told = site.get(f"/runs/{first['id']}/diff", **{"with": second["id"]})["versions"]
    assert {"environment", "requirement tiny"} <= {one[key] for one in told for key in ("subject", "name")}
    content = site.get(f"/pipeline_snapshots/{snapshot}")["content"]
    content["environment"]["requires"]["packages"] = ["fine", "x\nRUN evil"]
    refused = site.api.post("/pipeline_snapshots", json={"content": content})
    assert refused.status_code == 422
    assert [one["pointer"] for one in refused.json()["errors"]] == ["/content/environment/requires/packages/1"]


def test_a_pipeline_that_is_called_runs_here_and_says_what_does_not_fit(site: Site, project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import flows; print(flows.here().state, flows.nine)"],
        cwd=project,
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "completed" in done.stdout, done.stderr
    assert "does not fit" not in done.stderr
    lacking = subprocess.run(
        [sys.executable, "-c", "import flows; flows.one()"],
        cwd=project,
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "this Python does not fit: tiny is not installed" in lacking.stderr
    assert "No module named 'tiny'" in lacking.stderr


def test_requirements_are_given_where_a_pipeline_is_published(site: Site, project: Path, tmp_path: Path) -> None:
    (tmp_path / "needs.txt").write_text("tiny==2\n")
    published = ["pipeline", "create-run-template", f"{project / 'flows.py'}:one", "--name", "given"]
    site.penstock(*published, "--requirements", "needs.txt", "--python", "3.11", cwd=tmp_path)
    plan = site.post("/run_templates/given/plan", {})
    assert plan["requires"] == {"python": "==3.11.*", "packages": ["tiny==2"], "constraints": []}
    told = site.penstock(*published, "--requirements", "none.txt", cwd=tmp_path, status=2).stderr
    assert f"There is no file '{tmp_path}/none.txt'." in told
    (tmp_path / "needs.txt").write_text("fine\ntiny=2\n")
    assert "/requirements/1" in site.penstock(*published, "--requirements", "needs.txt", cwd=tmp_path, status=2).stderr


def test_an_installed_penstock_is_copied_into_its_environments(
    settings: dict[str, str], wheels: Path, tmp_path: Path
) -> None:
    uv = find_uv_bin()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "PYTHON"))}
    environment = {**clean, **settings, "PENSTOCK_UV": uv}
    del environment["PYTHONPATH"]

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    wheel = our_wheel(tmp_path)
    python = str(tmp_path / "venv" / "bin" / "python")
    run(uv, "venv", "--no-project", "--python", sys.executable, str(tmp_path / "venv"))
    run(uv, "pip", "install", "--python", python, str(wheel))
    script = f"""
import json, subprocess, sys
from penstock.model.requirements import Requirements
from penstock.runtime.builder import build
from penstock.runtime.environments import Environments
from penstock.runtime.inquiries import Order
wanted = Requirements(packages=("tiny==1",))
order = Order(home={str(tmp_path)!r}, requires=wanted, python=sys.executable, version="3.11.7", tag="cpython-3.11")
outcome = build(order)
assert outcome.built, outcome
said = "import penstock, tiny; print(penstock.__file__, tiny.VERSION)"
subprocess.run([Environments({str(tmp_path)!r}).executable(outcome.built.digest), "-P", "-c", said], cwd="/", check=True)
"""
    where, version = run(python, "-P", "-c", script).split()
    assert Path(where).is_relative_to(tmp_path / "environments")
    assert version == "1"


class TestSlowBuilds:
    """With a uv that waits until it is told to go on."""

    @pytest.fixture
    def slow(
        self, new_site: Callable[..., Site], settings: dict[str, str], project: Path, tmp_path: Path
    ) -> tuple[Site, Path]:
        gate = tmp_path / "gate"
        fake = tmp_path / "bin" / "uv"
        fake.parent.mkdir()
        script = f"""\
            #!/bin/sh
            echo "$1" >> {tmp_path}/calls
            while [ ! -e {gate} ]; do sleep 0.02; done  # poll: until the test opens the gate
            exec {find_uv_bin()} "$@"
            """
        fake.write_text(dedent(script))
        fake.chmod(0o755)
        site = new_site(**settings, PENSTOCK_UV=str(fake))
        site.template(f"{project / 'flows.py'}:one", "one")
        return site, gate

    def prepare(self, site: Site, runs: list[str]) -> None:
        def preparing() -> bool:
            return all("preparing an environment" in (site.get(f"/runs/{one}")["reason"] or "") for one in runs)

        eventually(preparing, what="the runs say that they prepare an environment")

    def test_two_at_once_build_once_and_say_what_they_wait_for(self, slow: tuple[Site, Path], tmp_path: Path) -> None:
        site, gate = slow
        begun = [site.trigger("one")["id"] for _ in range(3)]
        self.prepare(site, begun)
        why = site.get(f"/runs/{begun[0]}/why")
        assert why["blockers"][0]["kind"] == "environment"
        assert "tiny is not installed" in why["summary"]
        assert len(builders(site)) == 1
        gate.touch()
        ended = [site.ended(one) for one in begun]
        assert [run["state"] for run in ended] == ["completed"] * 3
        assert (tmp_path / "calls").read_text().split() == ["venv", "pip"]

    def test_a_run_that_is_cancelled_meanwhile_is_cancelled_and_leaves_nothing(self, slow: tuple[Site, Path]) -> None:
        site, gate = slow
        first, second = site.trigger("one")["id"], site.trigger("one")["id"]
        self.prepare(site, [first, second])
        site.post(f"/runs/{first}/cancel")
        assert site.ended(first)["state"] == "cancelled"
        assert builders(site), "the other run still waits for it"
        site.post(f"/runs/{second}/cancel")
        assert site.ended(second)["state"] == "cancelled"
        eventually(lambda: not builders(site), what="the builder has left")
        assert not list((site.home / "environments").glob(".building-*"))
        gate.touch()
        assert site.ended(site.trigger("one")["id"])["state"] == "completed"

    def test_a_builder_that_is_killed_leaves_nothing_half_used(self, slow: tuple[Site, Path]) -> None:
        site, gate = slow
        run = site.trigger("one")["id"]
        [builder] = eventually(lambda: builders(site), what="somebody builds")
        eventually(lambda: list((site.home / "environments").glob(".building-*")), what="it has begun")
        os.killpg(builder.pid, signal.SIGKILL)
        ended = site.ended(run)
        assert (ended["state"], ended["error"]["type"]) == ("failed", "EnvironmentFailed")
        assert "SIGKILL" in ended["error"]["message"]
        gate.touch()
        assert site.ended(site.trigger("one")["id"])["state"] == "completed"
        assert not list((site.home / "environments").glob(".building-*"))

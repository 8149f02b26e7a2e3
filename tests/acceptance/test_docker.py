"""Deployments in containers of a real Docker engine, from the command line to the last volume."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from penstock.errors import Forbidden, Unavailable
from penstock.stack.flavors.docker_registry import DockerRegistry
from tests import dockers
from tests.acceptance.site_under_test import PATIENCE, Site, eventually
from tests.ports import new_port
from tests.wheelhouse import tiny

pytestmark = pytest.mark.timeout(600)

LONG = 120.0
"""Seconds that an image, or a container, may take on a busy machine."""

CODE = """
from penstock import pipeline, step

@step(secrets=globals().get("SECRETS", []))
def times(number: int) -> int:
    print(f"multiplying {number}")
    return FACTOR * number

@pipeline(on_init=INIT)
def served(number: int) -> int:
    return times(number)
"""
PLAIN = "FACTOR, INIT = 2, None\n"
OTHER = "FACTOR, INIT = 3, None\n"
BROKEN = "FACTOR = 4\ndef INIT():\n    raise RuntimeError('no model here')\n"
SECRET = """
import os
class Factor:
    def __mul__(self, number):
        return int(os.environ["factor"]) * number
FACTOR, INIT, SECRETS = Factor(), None, ["db"]
"""
LIBRARY = "FACTOR = 5\ndef INIT():\n    import tiny\n    assert tiny.VERSION == '5'\n"


class Yard:
    """An engine, a site with a server that may be killed, and a project whose code changes."""

    def __init__(self, engine: str, own: dockers.Engine | None, site: Site, folder: Path) -> None:
        self.engine, self.own, self.site, self.folder = engine, own, site, folder
        self.wheels = folder / "wheels"
        tiny(self.wheels, "5")
        self.options = ["--deployer", "docker"]
        said = {
            "engine": engine,
            "base_image": dockers.BASE,
            "index_url": "",
            "wheels": str(self.wheels),
            "port": 19500,
        }
        self.options += [part for name, value in said.items() for part in ("--deployer-option", f"{name}={value}")]

    def docker(self, *arguments: str) -> str:
        done = subprocess.run(["docker", "-H", self.engine, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def deploy(self, name: str, head: str, *options: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        project = self.folder / name
        project.mkdir(exist_ok=True)
        (project / "code_of.py").write_text(head + CODE)
        waiting = ("--timeout", str(LONG), "-o", "json")
        return self.site.penstock(
            "pipeline", "deploy", "code_of.py:served", "--name", name, *options, *waiting, cwd=project, status=status
        )

    def deployed(self) -> list[str]:
        return [one["name"] for one in self.site.get("/deployments")["items"]]

    def drop(self, name: str) -> None:
        """Have it go, while others are tested."""
        self.site.api.delete(f"/deployments/{name}")

    def found(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.site.get(f"/deployments/{name}")
        return found

    def until(self, name: str, look: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def looked() -> bool:
            found[:] = [self.found(name)]
            return bool(look(found[0]))

        eventually(looked, what=f"{name} as it should be, not {found}", patience=LONG)
        return found[0]

    def things(self, deployment_id: str) -> list[str]:
        """All that the engine has of a deployment."""
        which = ("-q", "--filter", f"label=penstock.deployment={deployment_id}")
        return [
            *self.docker("ps", "-a", *which).split(),
            *self.docker("volume", "ls", *which).split(),
            *self.docker("network", "ls", *which).split(),
        ]

    def services(self, deployment_id: str) -> list[str]:
        label = f"label=penstock.deployment={deployment_id}"
        return self.docker("ps", "-q", "--filter", label, "--filter", "label=penstock.role=service").split()


def ask(url: str, number: int = 7) -> tuple[int, Any, str]:
    answer = httpx.post(f"{url}/invoke", json={"parameters": {"number": number}}, timeout=PATIENCE)
    told = answer.json()
    return answer.status_code, (told.get("outputs") or {}).get("output"), (told.get("metadata") or {}).get("run_id", "")


@contextmanager
def asked_all_the_time(url: str) -> Iterator[list[tuple[int, Any]]]:
    """Two clients ask one question after the other: one keeps its connection, one makes a new one each time."""
    answers: list[tuple[int, Any]] = []
    over = threading.Event()

    def go_on(keep: bool) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
        while not over.wait(0.02):  # the processors are for the images that are built meanwhile
            connection.request(
                "POST", "/invoke", b'{"parameters": {"number": 7}}', {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            answers.append((answer.status, json.loads(answer.read())["outputs"]["output"]))
            if not keep:
                connection.close()
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(go_on, keep) for keep in (True, False)]
        try:
            yield answers
        finally:
            over.set()
            for one in asking:
                one.result()


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with dockers.engine() as (address, own):
        home = Path(tempfile.mkdtemp(prefix="pk-"))
        site = Site(home)
        try:
            made = Yard(address, own, site.start(), tmp_path_factory.mktemp("docker"))
            yield made
            for name in made.deployed():
                made.drop(name)
            eventually(lambda: not made.deployed(), what="all gone", patience=LONG)
        finally:
            site.stop()
            shutil.rmtree(home)


def test_from_the_first_command_to_the_last_volume(yard: Yard) -> None:
    told = json.loads(yard.deploy("flow", PLAIN, *yard.options).stdout)
    url, identity = told["url"], told["id"]
    assert url.startswith("http://127.0.0.1:195")
    status, output, run = ask(url)
    assert (status, output) == (200, 14)
    # Every request is a run, told through the door of services.
    eventually(lambda: yard.site.api.get(f"/runs/{run}").status_code == 200, what="the run in the record")
    assert "multiplying 7" in yard.site.penstock("deployment", "logs", "flow").stdout
    [service] = yard.services(identity)
    facts = json.loads(yard.docker("inspect", service))[0]
    image = json.loads(yard.docker("inspect", facts["Config"]["Image"]))[0]
    token = yard.docker("exec", service, "/usr/bin/python3", "-c", "print(open('/etc/penstock/plan.json').read())")
    secret = json.loads(token)["token"]
    assert len(secret) > 50
    assert secret not in json.dumps([facts, image])
    assert image["Config"]["User"] == "10001:10001"

    # Other code, while people ask.
    with asked_all_the_time(url) as answers:
        yard.deploy("flow", OTHER, "--update")
        assert ask(url)[:2] == (200, 21)
    assert {status for status, _ in answers} == {200}
    assert {output for _, output in answers} <= {14, 21}
    eventually(lambda: len(yard.services(identity)) == 1, what="the earlier one gone", patience=LONG)
    assert yard.services(identity) != [service]
    yard.drop("flow")


def test_other_requirements_are_another_image_and_nobody_is_refused(yard: Yard) -> None:
    told = json.loads(yard.deploy("needy", PLAIN, *yard.options).stdout)
    url = told["url"]
    block = '# /// script\n# dependencies = ["tiny==5"]\n# ///\n'
    with asked_all_the_time(url) as answers:
        yard.deploy("needy", block + LIBRARY, "--update")
        assert ask(url)[:2] == (200, 35)
    assert {status for status, _ in answers} == {200}
    # A revision that cannot come up, and one that cannot be built: what serves goes on.
    failed = yard.deploy("needy", BROKEN, "--update", status=None)
    assert "no model here" in failed.stderr
    assert ask(url)[:2] == (200, 35)
    failed = yard.deploy("needy", block.replace("tiny==5", "nosuchthing==1") + PLAIN, "--update", status=None)
    assert "No matching distribution found for nosuchthing==1" in failed.stderr
    found = yard.found("needy")
    assert (found["state"], found["url"]) == ("error", url)
    assert ask(url)[:2] == (200, 35)
    yard.site.penstock("deployment", "rollback", "needy", "--to", "1", "--timeout", str(LONG))
    assert ask(url)[:2] == (200, 14)
    yard.drop("needy")


def test_secrets_in_a_folder_get_into_a_container_that_may_read_them(yard: Yard) -> None:
    told = yard.deploy("hidden", SECRET, *yard.options, status=None)
    assert "uses secrets" in told.stderr
    assert "say a `user`" in told.stderr or os.getuid() != 0
    yard.site.penstock("deployment", "delete", "hidden", "--force")
    yard.site.penstock("secret", "set", "db", "factor=6")
    options = ["--deployer-option", "user=0:0"] if os.getuid() == 0 else []
    url = json.loads(yard.deploy("shown", SECRET, *yard.options, *options).stdout)["url"]
    assert ask(url)[:2] == (200, 42)
    yard.drop("shown")


def test_what_is_killed_comes_back_and_a_new_server_finds_it(yard: Yard) -> None:
    told = json.loads(yard.deploy("tough", PLAIN, *yard.options).stdout)
    url, identity = told["url"], told["id"]
    [service] = yard.services(identity)
    os.kill(int(yard.docker("inspect", "-f", "{{.State.Pid}}", service)), signal.SIGKILL)
    assert ask(url)[:2] == (200, 14)  # who calls meanwhile waits
    gate = f"penstock-{identity}-gate"
    os.kill(int(yard.docker("inspect", "-f", "{{.State.Pid}}", gate)), signal.SIGKILL)
    eventually(lambda: _answers(url), what="the gate again", patience=LONG)
    # The server dies in the middle of an update; who asks meanwhile is answered, and the run told later.
    yard.deploy("tough", OTHER, "--update", "--timeout", "0")
    yard.site.kill()
    run = ask(url)[2]
    yard.site.restart()
    yard.until("tough", lambda found: found["state"] == "running" and ask(url)[:2] == (200, 21))
    eventually(lambda: yard.site.api.get(f"/runs/{run}").status_code == 200, what="the run in the record")
    # Taken down it stays where it was, and deleted it leaves nothing.
    yard.site.penstock("deployment", "deprovision", "tough", "--timeout", str(LONG))
    assert yard.services(identity) == []
    yard.site.penstock("deployment", "provision", "tough", "--timeout", str(LONG))
    assert ask(yard.found("tough")["url"])[:2] == (200, 21)
    assert yard.found("tough")["url"] == url
    yard.site.penstock("deployment", "delete", "tough")
    eventually(lambda: not yard.things(identity), what="nothing left", patience=LONG)


def test_a_candidate_is_tried_in_a_container_that_only_its_deployment_can_ask(yard: Yard) -> None:
    url = json.loads(yard.deploy("tried", PLAIN, *yard.options).stdout)["url"]
    project = yard.folder / "tried"
    (project / "code_of.py").write_text(OTHER + CODE)
    made = yard.site.penstock("pipeline", "snapshot", "create", "code_of.py:served", "-o", "json", cwd=project)
    said = ("--snapshot", json.loads(made.stdout)["id"], "--weight", "1", "--timeout", str(LONG))
    yard.site.penstock("deployment", "canary", "tried", *said)
    eventually(lambda: ask(url)[:2] == (200, 21), what="the candidate's answer", patience=LONG)
    companion = yard.site.get("/deployments/tried/trial")["trial"]["companion_id"]
    found = yard.site.get(f"/deployments/{companion}")
    assert found["url"].startswith("http://127.0.0.1:")
    assert httpx.post(f"{found['inner_url']}/invoke", json={}, timeout=PATIENCE).status_code == 401
    yard.site.penstock("deployment", "abort", "tried")
    eventually(lambda: not yard.things(companion), what="nothing left", patience=LONG)
    assert ask(url)[:2] == (200, 14)
    yard.drop("tried")


def _answers(url: str) -> bool:
    try:
        return ask(url)[0] == 200
    except httpx.HTTPError:
        return False


def test_an_engine_that_is_started_again_brings_everything_back(yard: Yard) -> None:
    if yard.own is None:
        pytest.skip("the engine is not ours to stop")
    url = json.loads(yard.deploy("back", PLAIN, *yard.options).stdout)["url"]
    assert ask(url)[:2] == (200, 14)
    yard.own.stop()
    yard.until("back", lambda found: found["state"] == "unknown")
    yard.own.start()
    yard.until("back", lambda found: found["state"] == "running" and _answers(url))
    assert yard.found("back")["url"] == url


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Callable[[bool], str]]:
    """Starts a container registry, which lets everybody in, or nobody; its address."""
    if shutil.which("docker-registry") is None:
        pytest.skip("PUSHING IMAGES IS NOT TESTED: there is no docker-registry (Debian has one)")
    started = []

    def start(everybody: bool) -> str:
        address = f"127.0.0.1:{new_port()}"
        (tmp_path / "nobody").touch()
        auth = "" if everybody else f"auth: {{htpasswd: {{realm: x, path: {tmp_path / 'nobody'}}}}}\n"
        settings = tmp_path / f"{everybody}.yml"
        settings.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'blobs'}}}}}\n"
            f"http: {{addr: '{address}'}}\nlog: {{level: error}}\n{auth}"
        )
        with (tmp_path / "log").open("ab") as log:
            started.append(subprocess.Popen(["docker-registry", "serve", settings], stdout=log, stderr=log))
        eventually(lambda: _listens(address), what="the registry")
        return address

    yield start
    for process in started:
        process.kill()
        process.wait()


def _listens(address: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://{address}/v2/").status_code in (200, 401)
    return False


def test_images_are_pushed_and_named_by_what_they_are(yard: Yard, registry: Callable[[bool], str]) -> None:
    def pushed(address: str) -> str:
        held = DockerRegistry(prefix=f"{address}/team", engine=yard.engine)
        reference = held.reference("penstock-x", "1")
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("nothing"))
        command = ["docker", "-H", yard.engine, "import", "-", reference]
        subprocess.run(command, input=stream.getvalue(), check=True, capture_output=True)
        return held.push(reference)

    address = registry(True)
    name = pushed(address)
    assert re.fullmatch(rf"{address}/team/penstock-x@sha256:[0-9a-f]{{64}}", name)
    assert DockerRegistry(prefix=f"{address}/team", engine=yard.engine).push(f"{address}/team/penstock-x:1") == name
    yard.docker("rmi", "-f", f"{address}/team/penstock-x:1")
    yard.docker("pull", name)
    with pytest.raises(Forbidden, match="docker login"):
        pushed(registry(False))
    with pytest.raises(Unavailable, match="cannot be pushed"):
        pushed(f"127.0.0.1:{new_port()}")


def test_what_cannot_be_is_refused_where_it_is_said(yard: Yard) -> None:
    wrong = yard.deploy("wrong", PLAIN, "--deployer", "docker", "--deployer-option", "memroy=1g", status=None)
    assert "memory" in wrong.stderr
    away = yard.deploy(
        "away", PLAIN, "--deployer", "docker", "--deployer-option", "engine=unix:///no.sock", status=None
    )
    assert "The Docker engine does not answer" in away.stderr
    yard.site.penstock("deployment", "delete", "away", "--force")

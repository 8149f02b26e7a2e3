"""What every deployer keeps. A deployer of another kind joins by an entry in `DEPLOYERS`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from penstock.author.archive import pack, unpack
from penstock.author.freeze import freeze
from penstock.author.source import load_source
from penstock.ids import new_id
from penstock.model.deployment import DeploymentState, Plan, Standing
from penstock.model.snapshot import Snapshot, snapshot_id
from penstock.runtime.workplace import code_path
from penstock.stack.contracts import Deployer
from penstock.stack.flavors.docker_deployer import DockerDeployer
from penstock.stack.flavors.kubernetes_deployer import KubernetesDeployer
from penstock.stack.flavors.local_deployer import LocalDeployer
from tests import dockers
from tests.launching import eventually

CODE = """
from penstock import pipeline, step

@step
def double(number: int) -> int:
    print(f"doubling {number}")
    return 2 * number

@pipeline
def doubled(number: int) -> int:
    return double(number)
"""


Make = Callable[[], Deployer]


def local(home: Path, _: pytest.FixtureRequest) -> Deployer:
    return LocalDeployer(str(home), port_range=(18000, 18999))


def docker(_: Path, request: pytest.FixtureRequest) -> Deployer:
    engine = request.getfixturevalue("docker_engine")
    return DockerDeployer(engine=engine, base_image=dockers.BASE, index_url="", port_range=(19000, 19999))


def kubernetes(_: Path, request: pytest.FixtureRequest) -> Deployer:
    kubeconfig, namespace, port = request.getfixturevalue("kubelet")
    said = {"kubeconfig": kubeconfig, "namespace": namespace, "service_port": port, "pre_stop": 0}
    return KubernetesDeployer(image="no-image-here", **said)


DEPLOYERS: dict[str, Callable[[Path, pytest.FixtureRequest], Deployer]] = {
    "local": local,
    "docker": docker,
    "kubernetes": kubernetes,
}


@pytest.fixture(params=list(DEPLOYERS))
def make(request: pytest.FixtureRequest, home: Path) -> Make:
    """Another object of the flavor, which knows nothing of those before."""
    return lambda: DEPLOYERS[request.param](home, request)


@pytest.fixture
def deployer(make: Make) -> Deployer:
    return make()


@pytest.fixture(scope="module")
def docker_engine() -> Iterator[str]:
    """The address of a Docker engine, if one can be had."""
    with dockers.engine() as (address, _):
        yield address


@pytest.fixture
def kubelet(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, int]]:
    """The kubeconfig of a real control plane, a namespace of it whose pods are carried out here, and the port of services."""
    from tests import control_planes, kubelets  # importing the client of Kubernetes takes a second

    api, plane = control_planes.cluster(own=True)
    assert plane is not None
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *given, **more: look_up("127.0.0.1" if str(host).endswith(".svc") else host, *given, **more),
    )
    with control_planes.namespace(api) as space, kubelets.Kubelet(api, plane, space, home / "cache" / "code") as one:
        yield plane.kubeconfig, space, one.port


@pytest.fixture
def plan(home: Path, tmp_path: Path, deployer: Deployer) -> Iterator[Plan]:
    name = f"doubling_{new_id()[-6:]}"  # a module is imported once in a process
    project = tmp_path / "project"
    project.mkdir()
    (project / f"{name}.py").write_text(CODE)
    made = load_source(f"{name}:doubled", project)
    content = freeze(made).content
    archive = pack(project)
    (tmp_path / "code.tar").write_bytes(archive.tar())
    unpack(archive.tar(), code_path(str(home), archive.digest), archive.digest)
    snapshot = Snapshot(
        id=snapshot_id(content),
        pipeline_id=new_id(),
        content=replace(content, code=archive.digest),
        created=datetime.now(UTC),
    )
    wanted = Plan(
        deployment_id=new_id(),
        deployment_name="doubled",
        snapshot=snapshot,
        home=str(home),
        archive=str(tmp_path / "code.tar"),
    )
    yield wanted
    deployer.remove(wanted.deployment_id)
    eventually(lambda: deployer.state(wanted.deployment_id).state is DeploymentState.ABSENT, patience=60)
    deployer.remove(wanted.deployment_id)


def up(deployer: Deployer, plan: Plan) -> Standing:
    def look() -> Standing | None:
        standing = deployer.state(plan.deployment_id)
        wanted = standing.state is DeploymentState.RUNNING and standing.revision == plan.revision
        return standing if wanted else None

    found = eventually(look, patience=60)
    assert found is not None
    return found


def ask(standing: Standing, number: int) -> int:
    answer = httpx.post(f"{standing.url}/invoke", json={"parameters": {"number": number}}, timeout=60)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["outputs"]["output"])


def test_an_unknown_one_is_absent_and_may_be_removed(deployer: Deployer) -> None:
    assert deployer.state(new_id()).state is DeploymentState.ABSENT
    assert deployer.logs(new_id(), 10) == []
    deployer.remove(new_id())


def test_it_comes_up_stays_where_it_is_and_goes(deployer: Deployer, plan: Plan) -> None:
    deployer.apply(plan)
    first = up(deployer, plan)
    assert ask(first, 4) == 8
    assert "doubling 4" in deployer.logs(plan.deployment_id, 50)
    deployer.apply(plan)
    next_plan = replace(plan, revision=2)
    deployer.apply(next_plan)
    second = up(deployer, next_plan)
    assert second.url == first.url
    assert ask(second, 5) == 10
    deployer.remove(plan.deployment_id)
    eventually(lambda: deployer.state(plan.deployment_id).state is DeploymentState.ABSENT, patience=60)


def test_another_object_of_the_same_flavor_finds_it(deployer: Deployer, plan: Plan, make: Make) -> None:
    deployer.apply(plan)
    found = up(deployer, plan)
    assert up(make(), plan) == found


def test_two_who_apply_the_same_at_once_do_no_harm(plan: Plan, make: Make) -> None:
    both = [make(), make()]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: one.apply(plan), both))
    assert up(both[0], plan).url == up(both[1], plan).url
    assert ask(up(both[0], plan), 6) == 12

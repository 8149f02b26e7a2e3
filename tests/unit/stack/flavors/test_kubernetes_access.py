"""The way to a cluster: credential plug-ins of the kubeconfig, as processes; and certificates that nobody trusts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from penstock.errors import Forbidden, Unavailable
from penstock.model.deployment import DeploymentState
from penstock.stack.flavors import kubernetes_access, kubernetes_deployer
from penstock.stack.flavors.kubernetes_cluster import Cluster
from penstock.stack.flavors.kubernetes_deployer import KubernetesDeployer
from tests.clusters import StandIn, kubeconfig, plan_of, stand_in
from tests.launching import alive, eventually

API = "client.authentication.k8s.io/v1"
SECRET = ("v1", "Secret", "s")

Write = Callable[..., str]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[StandIn, str]]:
    with stand_in(tmp_path) as (made, path):
        yield made, yaml.safe_load(Path(path).read_text())["clusters"][0]["cluster"]["server"]


@pytest.fixture
def there(cluster: tuple[StandIn, str]) -> StandIn:
    return cluster[0]


@pytest.fixture
def write(cluster: tuple[StandIn, str], tmp_path: Path) -> Write:
    """A kubeconfig whose credential plug-in is this shell script, in the same folder; `calls` has a line for each call."""

    def written(script: str, **said: Any) -> str:
        plug_in = tmp_path / "plug-in"
        plug_in.write_text(f"#!/bin/sh\necho called >> calls\n{script}\n")
        plug_in.chmod(0o755)
        return kubeconfig(tmp_path, cluster[1], {"exec": {"apiVersion": API, "command": "./plug-in", **said}})

    return written


def given(token: str, expires: datetime | None = None) -> str:
    """The script of a plug-in that gives this token."""
    until = {"expirationTimestamp": expires.isoformat()} if expires else {}
    told = {"apiVersion": API, "kind": "ExecCredential", "status": {"token": token, **until}}
    return f"echo '{json.dumps(told)}'"


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().splitlines())


def test_a_plug_in_is_asked_once_and_told_what_it_may_know(there: StandIn, write: Write, tmp_path: Path) -> None:
    script = f'echo "$KUBERNETES_EXEC_INFO" > asked; echo "$1 $WHO" > how; {given("let-me-in")}'
    path = write(script, args=["get-token"], env=[{"name": "WHO", "value": "me"}], provideClusterInfo=True)
    one = Cluster(path, None)
    assert one.get(SECRET, "default") is None
    assert one.get(SECRET, "default") is None
    assert calls(tmp_path) == 1
    assert (tmp_path / "how").read_text() == "get-token me\n"
    asked = json.loads((tmp_path / "asked").read_text())
    assert (asked["apiVersion"], asked["kind"], asked["spec"]["interactive"]) == (API, "ExecCredential", False)
    assert urlsplit(asked["spec"]["cluster"]["server"]).hostname == "127.0.0.1"
    assert there.asked


def test_a_plug_in_that_hangs_costs_its_time_once_and_is_stopped(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_access, "PLUG_IN", 0.5)
    monkeypatch.setattr(kubernetes_deployer, "FRESH", 0.0)
    deployer, plan = KubernetesDeployer(kubeconfig=write("sleep 600 & echo $! > child; wait"), image="i"), plan_of()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: deployer.state(plan.deployment_id), range(8)))
    assert {one.state for one in found} == {DeploymentState.UNKNOWN}
    told = (
        "The credential plug-in `plug-in` of the kubeconfig has not answered within 0.5 seconds, and was stopped. It may be "
        "waiting for somebody to log in: call it by hand, as the user of the server, and see."
    )
    assert {one.reason for one in found} == {told}
    assert calls(tmp_path) == 1  # all have waited for the same
    eventually(lambda: not alive(int((tmp_path / "child").read_text())))
    assert deployer.state(plan.deployment_id).reason == told  # nobody waits for it again so soon,
    with pytest.raises(Unavailable, match="has not answered"):
        deployer.remove(plan.deployment_id)
    assert calls(tmp_path) == 1
    deployer.apply(plan)  # but who has all the time, does
    eventually(lambda: calls(tmp_path) == 2 and deployer.state(plan.deployment_id).reason == told)
    assert deployer.state(plan.deployment_id).state is DeploymentState.UNKNOWN
    deployer.remove(plan.deployment_id)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo first; echo 'Please log in.' >&2; exit 3", "`plug-in` of the kubeconfig has failed with status 3: Please log in."),
        ("echo nonsense", "has given no credentials: expected an ExecCredential"),
        ('echo \'{"status": {"clientCertificateData": "half"}}\'', "has given no credentials"),
    ],
)  # fmt: skip
def test_a_plug_in_that_fails_is_told_and_asked_again(write: Write, script: str, told: str) -> None:
    one = Cluster(write(script), None)
    with pytest.raises(Unavailable) as caught:
        one.get(SECRET, "default")
    assert told in caught.value.detail
    write(given("let-me-in"))
    assert one.get(SECRET, "default") is None


def test_a_plug_in_that_is_not_there_is_told_with_where_to_get_it(write: Write) -> None:
    one = Cluster(write("", command="./none", installHint="Get it at example.com."), None)
    with pytest.raises(Unavailable) as caught:
        one.get(SECRET, "default")
    assert "`none` of the kubeconfig cannot be called (No such file or directory). Get it at example.com." in (
        caught.value.detail
    )


def test_credentials_that_have_run_out_are_asked_for_anew(there: StandIn, write: Write, tmp_path: Path) -> None:
    one = Cluster(write(given("let-me-in", datetime.now(UTC) - timedelta(seconds=1))), None)
    assert one.get(SECRET, "default") is None
    there.token, before = "another", calls(tmp_path)
    write(given("another", datetime.now(UTC) + timedelta(hours=1)))
    for _ in range(2):
        assert one.get(SECRET, "default") is None
    assert calls(tmp_path) == before + 1


def test_credentials_that_are_refused_are_asked_for_anew_but_not_all_the_time(
    there: StandIn, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Cluster(write(given("let-me-in")), None)
    assert one.get(SECRET, "default") is None
    there.token = "another"
    with pytest.raises(Forbidden, match=r"refused \(401\): Unauthorized"):
        one.get(SECRET, "default")
    assert calls(tmp_path) == 1
    monkeypatch.setattr(kubernetes_access, "YOUNG", 0.0)
    write(given("another"))
    assert one.get(SECRET, "default") is None
    assert calls(tmp_path) == 2


def test_a_token_in_the_kubeconfig_goes_before_a_plug_in(write: Write, tmp_path: Path) -> None:
    path = write("exit 1")
    told = yaml.safe_load(Path(path).read_text())
    told["users"][0]["user"]["token"] = "let-me-in"
    Path(path).write_text(json.dumps(told))
    assert Cluster(path, None).get(SECRET, "default") is None
    assert not (tmp_path / "calls").exists()


def test_kubeconfigs_are_merged_and_the_context_says_which(
    there: StandIn, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write(given("let-me-in")), tmp_path / "more"
    contexts = [{"name": "none", "context": {"cluster": "test", "user": "nobody"}}]
    second.write_text(json.dumps({"contexts": contexts, "users": [{"name": "nobody", "user": {"token": "x"}}]}))
    monkeypatch.setenv("KUBECONFIG", f"{first}{os.pathsep}{second}")
    assert Cluster(None, None).get(SECRET, "default") is None
    with pytest.raises(Forbidden):
        Cluster(None, "none").get(SECRET, "default")


def test_a_cluster_that_cannot_show_who_it_is_is_unknown(cluster: tuple[StandIn, str], tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, cluster[1].replace("http:", "https:"))
    found = KubernetesDeployer(kubeconfig=path, image="i").state("x")
    assert found.state is DeploymentState.UNKNOWN
    assert found.reason == "The cluster does not answer (wrong version number)."

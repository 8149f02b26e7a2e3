"""A deployment in a cluster, from the command line to its last object: a real server and commands, and a stand-in for the cluster.

The stand-in (`tests.clusters`) takes what it is told, and a thread here does what controllers do where all goes well. No pod runs.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.site_under_test import Site, eventually
from tests.clusters import StandIn, check, stand_in

CODE = """
from penstock import pipeline, step

@step
def double(number: int) -> int:
    return 2 * number

@pipeline
def doubled(number: int) -> int:
    return double(number)
"""
MORE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: "${penstock.name}-more"}
data: {where: "${penstock.namespace}"}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[StandIn, str]]:
    """The stand-in, with controllers to whom nothing happens."""
    over = threading.Event()

    def control(there: StandIn) -> None:
        while not over.wait(0.05):  # poll: a stand-in for controllers, which watch
            with there.lock:
                there.roll_out()

    with stand_in(tmp_path) as (there, path):
        thread = threading.Thread(target=control, args=(there,))
        thread.start()
        yield there, path
        over.set()
        thread.join()


def test_from_the_first_command_to_the_last_object(site: Site, cluster: tuple[StandIn, str], tmp_path: Path) -> None:
    there, path = cluster
    (tmp_path / "code_of.py").write_text(CODE)
    (tmp_path / "more.yaml").write_text(MORE)

    def deploy(*options: str, status: int = 0) -> dict[str, Any]:
        said = [f"kubeconfig={path}", "namespace=ml", "image=registry.example/p:1", *options]
        given = [part for one in said for part in ("--deployer-option", one)]
        done = site.penstock(
            *("pipeline", "deploy", "code_of.py:doubled", "--name", "served", "--update", "--generate-key"),
            *("--deployer", "kubernetes", *given, "--output", "json"),
            cwd=tmp_path,
            status=status,
        )
        return dict(json.loads(done.stdout)) if status == 0 else {"said": done.stdout + done.stderr}

    refused = deploy(status=1)
    assert "Pods cannot come to this server's socket" in refused["said"]
    assert there.objects == {}

    made = deploy("tracking=false", f"extra_resources=@{tmp_path}/more.yaml")
    found = made.get("deployment", made)
    assert (found["state"], found["revision"]) == ("running", 2)
    assert found["url"].endswith(".ml.svc")
    (more,) = there.of("ConfigMap")
    assert more["data"] == {"where": "ml"}
    assert "kubernetes" in site.penstock("deployment", "describe", "served").stdout

    shown = list(yaml.safe_load_all(site.penstock("deployment", "manifests", "served").stdout))
    assert [one["kind"] for one in shown] == ["Secret", "PersistentVolumeClaim", "ConfigMap", "Service", "Deployment"]
    for one in shown:
        check(one)
    secret = next(one for one in shown if one["kind"] == "Secret")
    assert secret["metadata"]["name"] == there.of("Secret")[0]["metadata"]["name"]
    assert secret["data"] != there.of("Secret")[0]["data"]

    changed = deploy("tracking=false", 'resources={"requests": {"cpu": "500m"}}')
    found = changed.get("deployment", changed)
    assert (found["state"], found["revision"]) == ("running", 3)
    (container,) = there.of("Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "500m"}}
    eventually(
        lambda: not there.of("ConfigMap") and len(there.of("Secret")) == 1, what="what is no longer said is gone"
    )

    site.penstock("deployment", "deprovision", "served")
    assert [kind for _, kind, _ in there.objects] == ["PersistentVolumeClaim"]
    site.penstock("deployment", "provision", "served")
    site.penstock("deployment", "delete", "served")
    eventually(lambda: there.objects == {}, what="everything is gone")


def test_elsewhere_there_are_no_manifests(site: Site, tmp_path: Path) -> None:
    (tmp_path / "code_of.py").write_text(CODE)
    site.penstock("pipeline", "deploy", "code_of.py:doubled", "--name", "served", "--timeout", "0", cwd=tmp_path)
    told = site.api.get("/deployments/served/manifests")
    assert (told.status_code, told.json()["detail"]) == (
        409,
        "The deployer 'local' keeps services up without manifests.",
    )
    site.penstock("deployment", "delete", "served")

"""Settings of machines and images are said, checked, kept with the snapshot and with the run, whoever says them."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.site_under_test import Site

PROJECT = """
from penstock import DockerSettings, ResourceSettings, pipeline, step

@step(settings={"resources": ResourceSettings(cpu_count=2, gpu_count=1, memory="4GB")})
def heavy() -> int:
    return 1

@pipeline(
    settings={
        "docker": DockerSettings(
            parent_image="python:3.11",
            dockerfile="Dockerfile",
            requirements=["scikit-learn==1.5"],
            apt_packages=["libgomp1"],
            environment={"OMP_NUM_THREADS": "1"},
        )
    }
)
def needy() -> int:
    return heavy()
"""


def test_what_a_step_needs_is_kept_and_a_run_may_say_otherwise(site: Site, tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROJECT)
    site.template(f"{tmp_path / 'project.py'}:needy", "needy")
    snapshot = site.get("/run_templates/needy")["template"]["versions"][0]["snapshot_id"]
    content = site.get(f"/pipeline_snapshots/{snapshot}")["content"]
    docker = content["configuration"]["settings"]["docker"]
    assert (docker["parent_image"], docker["dockerfile"]) == ("python:3.11", "Dockerfile")
    assert (docker["requirements"], docker["apt_packages"]) == (["scikit-learn==1.5"], ["libgomp1"])
    assert docker["environment"] == {"OMP_NUM_THREADS": "1"}
    (step,) = content["graph"]["invocations"]
    needs = step["configuration"]["settings"]["resources"]
    assert (needs["cpu_count"], needs["gpu_count"], needs["memory"]) == (2.0, 1, "4GB")

    said = {
        "settings": {"resources": {"memory": "512MiB"}},
        "steps": {"heavy": {"settings": {"docker": {"user": "me"}}}},
    }
    run = site.ended(site.post("/run_templates/needy/runs", said)["id"])
    assert run["outputs"] == {"output": 1}
    assert run["configuration"]["settings"]["resources"]["memory"] == "512MiB"
    assert run["configuration"]["steps"]["heavy"]["settings"]["docker"]["user"] == "me"

    for wrong, pointer in (
        ({"resources": {"memory": "much"}}, "/settings/resources/memory"),
        ({"resources": {"cpus": 1}}, "/settings/resources/cpus"),
        ({"docker": {"requirments": []}}, "/settings/docker/requirments"),
        ({"kubernetes": {}}, "/settings/kubernetes"),
    ):
        answer = site.api.post("/run_templates/needy/runs", json={"settings": wrong})
        assert answer.status_code == 422, wrong
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]

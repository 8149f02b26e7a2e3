"""The client under the names that ZenML's code uses, against a running server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.acceptance.site_under_test import Site

# In a process of its own: whoever imports it has it imported before all pipelines that are frozen from then on.
SCRIPT = """
import sys
from uuid import UUID

import penstock.compat.zenml
from zenml.client import Client

run_id, client = sys.argv[1], Client()
run = client.get_pipeline_run(UUID(run_id))
pipeline = client.list_pipelines(name="lab", hydrate=True)[0]
assert client.get_pipeline(UUID(pipeline.id)) == client.get_pipeline("lab") == pipeline
assert client.list_snapshots(pipeline="lab", size=1)[0].pipeline_id == pipeline.id
assert client.get_snapshot(UUID(run.snapshot_id), hydrate=False).content.pipeline == "lab"
assert run_id in {one.id for one in client.list_pipeline_runs(pipeline_id=UUID(pipeline.id), size=200)}
template = client.get_run_template(name="lab")
assert client.get_run_template(UUID(template.id)).name == "lab"
assert "lab" in {one.name for one in client.list_run_templates(pipeline_id=UUID(pipeline.id), size=200)}
try:
    client.list_pipeline_runs(sort_by="asc:name")
except ValueError as error:
    assert "desc:created" in str(error)
else:
    raise AssertionError
print("found")
"""


def test_what_is_listed_can_be_got_by_id_and_by_name(site: Site, tmp_path: Path) -> None:
    run = site.ended(site.trigger("lab")["id"])
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), run["id"]],
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "found\n"), done.stderr

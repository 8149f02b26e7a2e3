"""The client under the names that ZenML's code uses, against a running server."""

from __future__ import annotations

from uuid import UUID

import pytest

from penstock.compat.zenml.client import Client
from tests.acceptance.site_under_test import Site


def test_what_is_listed_can_be_got_by_id_and_by_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    run = site.ended(site.trigger("lab")["id"])
    client = Client()
    pipeline = client.list_pipelines(name="lab", hydrate=True)[0]
    assert client.get_pipeline(UUID(pipeline.id)) == client.get_pipeline("lab") == pipeline
    assert client.list_snapshots(pipeline="lab", size=1)[0].pipeline_id == pipeline.id
    snapshot = client.get_snapshot(UUID(run["snapshot_id"]), hydrate=False)
    assert snapshot.content.pipeline == "lab"
    assert client.get_pipeline_run(UUID(run["id"])).name == run["name"]
    assert run["id"] in {one.id for one in client.list_pipeline_runs(pipeline_id=UUID(pipeline.id), size=200)}
    template = client.get_run_template(name="lab")
    assert client.get_run_template(UUID(template.id)).name == "lab"
    assert "lab" in {one.name for one in client.list_run_templates(pipeline_id=UUID(pipeline.id), size=200)}
    with pytest.raises(ValueError, match="desc:created"):
        client.list_pipeline_runs(sort_by="asc:name")

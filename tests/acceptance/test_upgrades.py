"""Templates outlive releases: what was frozen long ago runs, and what would not is told before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.ids import digest_of
from penstock.model.snapshot import Content, snapshot_id
from tests.acceptance.site_under_test import Site

GOLDEN = Path(__file__).parents[1] / "golden"
FORMATS = {"format-1": "eb10c56f-2035-8b4a-99b8-52a44fb199fe"}
"""Each format that a release has ever frozen, and the id that the snapshot has."""


def check(site: Site, status: int) -> dict[str, Any]:
    done = site.penstock("server", "upgrade", "--check", "-o", "json", status=status)
    return {f"{one['template']}@v{one['version']}": one for one in json.loads(done.stdout)["checked"]}


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_frozen_in_this_format_is_read_has_its_id_and_runs(site: Site, name: str) -> None:
    content, archive = (GOLDEN / f"{name}.json").read_bytes(), (GOLDEN / f"{name}.tar").read_bytes()
    assert snapshot_id(msgspec.json.decode(content, type=Content)) == FORMATS[name]
    put = site.api.put(f"/code/{digest_of(archive)}", content=archive)
    assert put.status_code in (200, 201, 204), put.text
    created = site.post("/pipeline_snapshots", {"content": json.loads(content)})
    assert created["id"] == FORMATS[name]
    site.post("/run_templates", {"name": name, "snapshot_id": created["id"]})
    run = site.trigger(name, {"table": {"name": "u", "rows": 8}, "kind": "size"}, Prefer="wait=60")
    assert run["state"] == "completed", run
    assert run["outputs"] == {"score": 6.0, "again": 4.0}
    assert run["tags"] == ["golden"]
    refused = site.api.post(f"/run_templates/{name}/runs", json={"parameters": {"table": {"name": "u", "rows": -1}}})
    assert refused.status_code == 422


def test_every_format_that_is_written_has_a_golden_one() -> None:
    assert [one.stem for one in sorted(GOLDEN.glob("*.json"))] == sorted(FORMATS)
    newest = max(int(name.removeprefix("format-")) for name in FORMATS)
    assert Content.__dataclass_fields__["format"].default == newest


def test_templates_in_use_are_checked_and_nothing_is_changed(fresh: Site, tmp_path: Path) -> None:
    found = check(fresh, 0)
    assert found["lab@v1"]["findings"] == []
    assert found["lab@v1"]["reached_as"] == ["lab", "lab@latest"]
    printed = fresh.penstock("server", "upgrade", "--check")
    assert "runs" in printed.stdout
    assert "has schema" in printed.stderr
    snapshot = fresh.get("/run_templates/lab")["template"]["versions"][0]["snapshot_id"]
    digest = fresh.get(f"/pipeline_snapshots/{snapshot}")["content"]["code"]
    (fresh.home / "code" / f"{digest}.tar").unlink()
    broken = check(fresh, 1)["lab@v1"]["findings"]
    assert [one["severity"] for one in broken] == ["broken"]
    assert digest in broken[0]["message"]
    assert fresh.get("/info")["runs_queued"] == 0  # the server goes on


def test_a_home_without_a_database_gets_none_by_being_checked(tmp_path: Path) -> None:
    site = Site(tmp_path)
    done = site.penstock("server", "upgrade", "--check", status=1)
    assert "no database" in done.stderr
    assert list(tmp_path.glob("*.db*")) == []
    assert "got schema" in site.penstock("server", "upgrade").stderr
    assert "has schema" in site.penstock("server", "upgrade", "--check").stderr

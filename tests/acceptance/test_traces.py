"""One trace from the caller through the server to the steps, with real processes, the real SDK and an exporter that is installed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.acceptance.site_under_test import Site, eventually
from tests.unit.control.test_lineage import SPEC, catalogue

CALLER = f"00-{'a' * 32}-{'b' * 16}-01"
TRACE = "a" * 32

EXPORTER = """
import json, os
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

class ToFile(SpanExporter):
    def export(self, spans):
        with open(os.environ["SPANS"], "a") as file:
            for span in spans:
                file.write(span.to_json(indent=None) + "\\n")
        return SpanExportResult.SUCCESS
"""

PROJECT = """
import os
from penstock import pipeline, step

@step
def first() -> str:
    return os.environ.get("TRACEPARENT", "none")

@step
def second(context: str) -> str:
    if context == "fail":
        raise ValueError("a secret word")
    return context

@pipeline
def traced(fail: bool = False) -> str:
    return second("fail") if fail else second(first())
"""


def installed(folder: Path) -> dict[str, str]:
    """A folder with an exporter, installed as packages are."""
    (folder / "spans_to_file.py").write_text(EXPORTER)
    info = folder / "spans_to_file-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spans-to-file\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[opentelemetry_traces_exporter]\nfile = spans_to_file:ToFile\n")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        "PYTHONPATH": path,
        "OTEL_TRACES_EXPORTER": "file",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "SPANS": str(folder / "spans"),
    }


def spans(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "spans"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return {one["name"]: one for one in found if one["context"]["trace_id"] == f"0x{TRACE}"}


def below(child: dict[str, Any], parent: dict[str, Any]) -> bool:
    return bool(child["parent_id"] == parent["context"]["span_id"])


def test_the_callers_trace_reaches_the_steps(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site(**installed(tmp_path))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "work.py").write_text(PROJECT)
    site.template(f"{tmp_path / 'project' / 'work.py'}:traced", "traced")
    run = site.ended(site.trigger("traced", traceparent=CALLER)["id"])
    assert run["state"] == "completed", run
    start = "POST /api/v1/run_templates/{reference}/runs"
    wanted = {start, "run traced", "step first", "step second"}
    eventually(lambda: wanted <= set(spans(tmp_path)), what="all spans are there")
    found = spans(tmp_path)
    assert found[start]["parent_id"] == "0x" + "b" * 16
    assert found[start]["attributes"]["http.response.status_code"] == 202
    assert below(found["run traced"], found[start])
    assert below(found["step first"], found["run traced"])
    assert below(found["step second"], found["run traced"])
    assert found["run traced"]["attributes"]["penstock.run.id"] == run["id"]
    span = found["run traced"]["context"]["span_id"].removeprefix("0x")
    assert run["outputs"]["output"] == f"00-{TRACE}-{span}-01"
    failing = site.ended(site.trigger("traced", {"fail": True}, traceparent=CALLER)["id"])
    assert failing["state"] == "failed"
    eventually(lambda: spans(tmp_path)["step second"]["status"]["status_code"] == "ERROR", what="the failure is there")
    assert "secret word" not in (tmp_path / "spans").read_text()


def test_without_opentelemetry_the_context_is_handed_on(fresh: Site, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(PROJECT)
    fresh.template(f"{tmp_path / 'work.py'}:traced", "traced")
    run = fresh.ended(fresh.trigger("traced", traceparent=CALLER)["id"])
    assert run["outputs"]["output"] == CALLER
    assert run["cause"]["traceparent"] == CALLER
    for wrong in ("00-x", "ff" + CALLER[2:]):
        run = fresh.ended(fresh.trigger("traced", traceparent=wrong)["id"])
        assert run["outputs"]["output"] == "none"


def test_a_catalogue_hears_of_runs_from_start_to_end(new_site: Callable[..., Site], tmp_path: Path) -> None:
    with catalogue() as (url, told):
        site = new_site(PENSTOCK_LINEAGE_URL=url, PENSTOCK_LINEAGE_NAMESPACE="plant")
        (tmp_path / "work.py").write_text(PROJECT)
        site.template(f"{tmp_path / 'work.py'}:traced", "traced")
        run = site.ended(site.trigger("traced")["id"])
        failing = site.ended(site.trigger("traced", {"fail": True})["id"])
        eventually(lambda: len(told) == 4, what="both runs are told")
    for one in told:
        SPEC.validate(one)
    kinds = [(one["run"]["runId"], one["eventType"]) for one in told]
    assert kinds == [(run["id"], "START"), (run["id"], "COMPLETE"), (failing["id"], "START"), (failing["id"], "FAIL")]
    assert {one["job"]["namespace"] for one in told} == {"plant"}
    assert {one["name"] for one in told[1]["outputs"]} == {"traced/first/output", "traced/second/output"}
    assert told[3]["run"]["facets"]["errorMessage"]["message"]

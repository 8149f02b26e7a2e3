"""Trace contexts, and spans through the real SDK."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from penstock.model.trace import Traces, context_of, failed, name_of, traces

GOOD = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.mark.parametrize("text", [GOOD, f"00-{'0' * 31}1-{'0' * 15}1-00", f"cc-{'a' * 32}-{'b' * 16}-01-more"])
def test_what_is_a_context_is_taken(text: str) -> None:
    assert context_of(text) == text


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-x",
        GOOD.upper(),
        GOOD + "-more",
        GOOD + "\n",
        f"ff-{'a' * 32}-{'b' * 16}-01",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f"00-{'a' * 31}-{'b' * 16}-01",
    ],
)
def test_what_is_none_is_not(text: str | None) -> None:
    assert context_of(text) is None


def test_spans_are_below_the_one_that_is_named_and_tell_no_words_of_errors() -> None:
    exporter = InMemorySpanExporter()
    found = Traces("test", [exporter])
    run = found.begin("run", GOOD, {"a": 1})
    step = found.begin("step", name_of(run), {})
    failed(step, "ValueError")
    step.end()
    run.end()
    found.close()
    inner, outer = exporter.get_finished_spans()
    assert outer.parent is not None
    assert f"{outer.parent.span_id:016x}" == "b" * 16
    assert f"{inner.context.trace_id:032x}" == "a" * 32
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert (inner.status.description, inner.events) == ("ValueError", ())


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nobody_who_does_not_want_them_pays(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert traces("test") is None


def test_an_exporter_that_is_not_there_is_said_and_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nowhere")
    assert traces("test") is None
    assert "opentelemetry-exporter-nowhere" in caplog.text


def test_without_its_variables_its_sdk_is_not_imported() -> None:
    code = "import sys, penstock.server.app, penstock.runtime.run, penstock.client; print('opentelemetry.sdk' in sys.modules)"
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

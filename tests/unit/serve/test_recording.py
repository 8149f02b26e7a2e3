from __future__ import annotations

import json

import msgspec

from penstock.model.deployment import ServedRun
from penstock.model.wire import reader
from penstock.serve.recording import OUTPUT_LIMIT, Recording


def made() -> Recording:
    recording = Recording("r", "run")
    recording.write("run_started", metadata={})
    return recording


def test_it_reads_back_as_the_record_of_a_run() -> None:
    recording = made()
    with recording.step("a"):
        recording.note("a note\nin two lines")
    recording.printed("one\ntw", "stdout", "a", 1)
    recording.printed("o\nthree", "stdout", "a", 1)
    recording.write("run_completed", values=msgspec.Raw(b'{"output":1}'))
    run = reader(ServedRun)(recording.encoded("s"))
    assert [one.type for one in run.events] == ["run_started", "log", "run_completed"]
    assert [one.seq for one in run.events] == [1, 2, 3]
    assert [one.text for one in run.events[1].lines] == ["a note", "in two lines", "one", "two", "three"]
    assert run.events[2].values == {"output": 1}


def test_secrets_are_not_told() -> None:
    recording = made()
    recording.hide(["hunter22"])
    recording.printed("it is hunter22\n", "stdout", None, 1)
    recording.write("run_completed", values=msgspec.Raw(b'{"output":"hunter22"}'))
    assert b"hunter22" not in recording.encoded("s")
    assert recording.masked("hunter22!") == "***!"


def test_output_without_end_is_cut() -> None:
    recording = made()
    for _ in range(2000):
        recording.printed("x" * 1000 + "\n", "stdout", None, 1)
    recording.write("run_completed", values={})
    lines = json.loads(recording.encoded("s"))["events"][1]["lines"]
    assert sum(len(one["text"]) for one in lines) <= OUTPUT_LIMIT + 100
    assert "not kept" in lines[-1]["text"]

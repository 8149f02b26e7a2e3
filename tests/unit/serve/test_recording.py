from __future__ import annotations

import json

import msgspec

from penstock.model.deployment import ServedRun
from penstock.model.wire import reader
from penstock.runtime.lines import LINE_LIMIT
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


def test_lines_end_as_they_do_anywhere_and_bars_leave_their_last_state() -> None:
    recording = made()
    recording.printed("one\r\ntwo\r\n", "stdout", None, 1)
    for percent in range(0, 101, 20):
        recording.printed(f"\r{percent} %", "stderr", None, 1)
    recording.printed("\n", "stderr", None, 1)
    recording.printed("half\r", "stdout", None, 1)
    recording.printed("whole", "stdout", None, 1)
    recording.printed("left\r", "stdout", None, 2)
    recording.write("run_completed", values={})
    lines = json.loads(recording.encoded("s"))["events"][1]["lines"]
    assert [one["text"] for one in lines] == ["one", "two", "100 %", "whole", "left"]


def test_a_line_that_never_ends_needs_no_more_room_than_one_that_does() -> None:
    recording = made()
    for _ in range(300):
        recording.printed("x" * 1000, "stdout", None, 1)
        recording.printed("\r" + "y" * 1000, "stderr", None, 1)
    assert max(map(len, recording._begun.values())) <= LINE_LIMIT
    assert recording._begun[None, "stderr", 1] == "y" * 1000

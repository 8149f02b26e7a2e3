from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.figures import Aim, Figure
from benchmarks.report import inserted, section, shown, table, write

NOON = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
FAST = Figure(what="a start", ours=[0.02, 0.03], against="Python", yardstick=[0.01, 0.01], aim=Aim(4, times=True))
BIG = Figure(what="a heap", ours=[100], against="a hill", yardstick=[50], unit="MiB", aim=Aim(90))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0000361, "s", "0.0361 ms"),
        (0.00524, "s", "5.24 ms"),
        (0.0994, "s", "99.4 ms"),
        (0.1, "s", "0.10 s"),
        (2.456, "s", "2.46 s"),
        (81.6, "MiB", "82 MiB"),
    ],
)
def test_quantities_have_the_unit_in_which_people_say_them(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text  # type: ignore[arg-type]  # one of the two units, from the table above


def test_a_row_says_all_that_is_needed_to_judge_it() -> None:
    head, rule, fast, big = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table([FAST, BIG]).splitlines()
    )
    assert head == ["what", "Penstock", "yardstick", "samples", "ratio", "reach", "reached"]
    assert set("".join(rule)) == {"-"}
    assert fast == ["a start", "25 ms (20 ms - 30 ms)", "Python: 10 ms (10 ms - 10 ms)", "2", "2.5", "<= 4 x", "yes"]
    assert big[1:] == ["100 MiB (100 MiB - 100 MiB)", "a hill: 50 MiB (50 MiB - 50 MiB)", "1", "2", "<= 90 MiB", "no"]


def test_columns_stand_under_each_other() -> None:
    lines = table([FAST, BIG]).splitlines()
    assert len({tuple(at for at, letter in enumerate(line) if letter == "|") for line in lines}) == 1


def test_a_section_names_the_moment_and_the_machine() -> None:
    lines = section(NOON, {"machine": "2 cores"}, [FAST]).splitlines()
    assert lines[:4] == ["## 2026-03-01 12:05 UTC", "", "- machine: 2 cores", ""]
    assert lines[4:] == table([FAST]).splitlines()


def test_the_newest_section_is_the_first_and_nothing_is_lost() -> None:
    text = inserted(inserted("# Results\n\nWords.\n", "## 1\n\nold\n"), "## 2\n\nnew\n")
    assert text == "# Results\n\nWords.\n\n## 2\n\nnew\n\n## 1\n\nold\n"


def test_results_are_kept_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    write([FAST], {}, file)
    write([BIG], {}, file)
    text = file.read_text()
    assert text.startswith("# Results\n\n## ")
    assert text.index("a heap") < text.index("a start")

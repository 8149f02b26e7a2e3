from __future__ import annotations

import pytest

from tools.ratchet import ARGUMENTS, FILE_LINES, FUNCTION_LINES, complaints, oversized
from tools.sources import Source


def sizes(text: str) -> dict[str, int]:
    return {name: size for name, size, _ in oversized(Source.of("src/room.py", text))}


def function_of(lines: int) -> str:
    return "def long():\n" + "    pass\n" * (lines - 1)


def test_what_is_at_its_limit_passes() -> None:
    text = function_of(FUNCTION_LINES)
    assert sizes(text + "\n" * (FILE_LINES - FUNCTION_LINES)) == {}


def test_a_file_over_its_limit_is_named_with_its_length() -> None:
    assert sizes("\n" * (FILE_LINES + 1)) == {"src/room.py": FILE_LINES + 1}


def test_a_long_function_is_named_by_its_path_in_the_file() -> None:
    text = "class House:\n" + "".join(f"    {line}\n" for line in function_of(FUNCTION_LINES + 1).splitlines())
    assert sizes(text) == {"src/room.py::House.long": FUNCTION_LINES + 1}


@pytest.mark.parametrize(
    ("signature", "count"),
    [
        ("a, b, c, d, e, f, g", None),
        ("a, b, c, d, e, f, g, h", 8),
        ("a, /, b, *, c, d, e, f, g, h", 8),
        ("a, b, c, d, e, f, *args, **kwargs", 8),
    ],
)
def test_every_kind_of_argument_counts(signature: str, count: int | None) -> None:
    expected = {} if count is None else {"src/room.py::call()": count}
    assert sizes(f"def call({signature}): ...") == expected


def test_self_is_not_passed_and_does_not_count() -> None:
    assert ARGUMENTS == 7
    assert sizes("class House:\n    def call(self, a, b, c, d, e, f, g): ...") == {}


def test_arguments_of_tests_are_fixtures_and_do_not_count() -> None:
    assert list(oversized(Source.of("tests/test_x.py", "def test(a, b, c, d, e, f, g, h): ..."))) == []


FOUND = {"a.py": (600, "lines (limit 500)")}


def test_a_frozen_size_passes() -> None:
    assert list(complaints(FOUND, {"a.py": 600})) == []


@pytest.mark.parametrize(
    ("frozen", "said"),
    [
        ({}, "600 lines (limit 500)"),
        ({"a.py": 599}, "may only shrink"),
        ({"a.py": 601}, "lower its entry"),
        ({"a.py": 600, "gone.py": 700}, "take it out"),
    ],
)
def test_the_frozen_list_may_only_shrink(frozen: dict[str, int], said: str) -> None:
    problems = list(complaints(FOUND, frozen))
    assert len(problems) == 1
    assert said in problems[0]


def test_a_command_may_have_more_options_than_a_function_has_arguments() -> None:
    names = ", ".join(f"x{number}=None" for number in range(12))
    assert sizes(f"@app.command()\ndef run({names}): ...") == {}
    assert sizes(f"@app.command('run')\ndef run({names}, more=None): ...") == {"src/room.py::run()": 13}
    assert sizes(f"@other()\ndef run({names}): ...") == {"src/room.py::run()": 12}

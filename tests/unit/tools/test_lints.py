from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import cast

import pytest

from tools.lints import fixed_sleeps, inner_imports, transactions
from tools.lints.__main__ import RULES, findings
from tools.lints.findings import Finding
from tools.sources import Source


def lines(rule: ModuleType, path: str, text: str) -> list[int]:
    return [found.line for found in cast("Iterator[Finding]", rule.check(Source.of(path, text)))]


class TestFixedSleeps:
    @pytest.mark.parametrize("call", ["time.sleep(1)", "sleep(0.1)", "await_(asyncio.sleep(seconds))"])
    def test_found_in_tests(self, call: str) -> None:
        assert lines(fixed_sleeps, "tests/unit/test_x.py", f"x = 1\n{call}\n") == [2]

    def test_the_product_may_sleep(self) -> None:
        assert lines(fixed_sleeps, "src/penstock/x.py", "time.sleep(1)\n") == []

    def test_sleep_zero_waits_for_nothing(self) -> None:
        assert lines(fixed_sleeps, "tests/x.py", "asyncio.sleep(0)\n") == []

    @pytest.mark.parametrize(
        "text", ["time.sleep(0.01)  # poll: until the socket is there\n", "# poll: two looks\ntime.sleep(0.01)\n"]
    )
    def test_a_polling_helper_says_so(self, text: str) -> None:
        assert lines(fixed_sleeps, "tests/x.py", text) == []

    def test_another_comment_is_no_excuse(self) -> None:
        assert lines(fixed_sleeps, "tests/x.py", "time.sleep(1)  # give it time\n") == [1]


class TestInnerImports:
    def test_found_without_a_reason(self) -> None:
        text = "import os\ndef read():\n    import pandas\n    from x import y\n"
        assert lines(inner_imports, "src/penstock/x.py", text) == [3, 4]

    @pytest.mark.parametrize(
        "text",
        [
            "def read():\n    import pandas  # heavy: 0.4 s\n",
            "def read():\n    # heavy: 0.4 s\n    import pandas\n    import numpy\n",
        ],
    )
    def test_a_reason_serves_the_imports_that_follow_it(self, text: str) -> None:
        assert lines(inner_imports, "src/penstock/x.py", text) == []

    def test_a_directive_is_no_reason(self) -> None:
        text = "def read():\n    import pandas  # noqa: PLC0415\n"
        assert lines(inner_imports, "src/penstock/x.py", text) == [2]

    def test_a_function_in_a_function_is_told_once(self) -> None:
        text = "def outer():\n    def inner():\n        import pandas\n"
        assert lines(inner_imports, "src/penstock/x.py", text) == [3]

    def test_only_the_product_is_meant(self) -> None:
        assert lines(inner_imports, "tests/x.py", "def read():\n    import pandas\n") == []


class TestTransactions:
    @pytest.mark.parametrize("room", ["store/runs.py", "control/runs.py", "server/routes/runs.py"])
    def test_found_outside_the_session(self, room: str) -> None:
        assert lines(transactions, f"src/penstock/{room}", "connection.commit()\n") == [1]

    @pytest.mark.parametrize("path", ["src/penstock/store/session.py", "src/penstock/author/x.py", "tests/x.py"])
    def test_the_session_and_other_houses_may(self, path: str) -> None:
        assert lines(transactions, path, "connection.commit()\nconnection.begin()\n") == []

    def test_a_deed_of_the_same_name_is_none(self) -> None:
        assert lines(transactions, "src/penstock/control/x.py", "runs.begin(run_id)\n") == []


def test_a_finding_comes_with_the_reason_of_its_rule() -> None:
    [(reason, found)] = findings(Source.of("tests/x.py", "time.sleep(1)\n"))
    assert "waits for a condition" in reason
    assert found == Finding(1, "A fixed sleep.")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_gives_its_reason(rule: ModuleType) -> None:
    assert (rule.__doc__ or "").splitlines()[0].endswith(".")

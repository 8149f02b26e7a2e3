"""Orders that cannot be carried out; what can is in the acceptance tests, since it takes a whole environment."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from penstock.model.requirements import Requirements
from penstock.model.snapshot import Environment
from penstock.model.stack import Component
from penstock.runtime.builder import Builder, build, look, prepare
from penstock.runtime.inquiries import Order
from penstock.version import VERSION

TINY = Requirements(packages=("tiny==1",))


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return Order(home=str(tmp_path), requires=TINY, python=sys.executable, version="3.11.7", tag="cpython-3.11")


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A uv that does what the script says."""
    path = tmp_path / "uv"
    path.write_text(f"#!/bin/sh\n{dedent(script)}")
    path.chmod(0o755)
    monkeypatch.setenv("PENSTOCK_UV", str(path))


def changed(order: Order, **fields: object) -> Order:
    return msgspec.structs.replace(order, **fields)


def leftovers(order: Order) -> list[Path]:
    return [one for one in (Path(order.home) / "environments").glob("*") if not one.name.endswith(".lock")]


class TestDigest:
    def test_equal_orders_have_an_equal_one(self, order: Order) -> None:
        assert Builder(order).digest == Builder(changed(order, home="/elsewhere", version="3.11.9")).digest

    @pytest.mark.parametrize(
        "fields",
        [
            {"requires": replace(TINY, packages=("tiny==2",))},
            {"requires": replace(TINY, constraints=("below==1",))},
            {"requires": replace(TINY, python=">=3.12")},
            {"tag": "cpython-3.12"},
            {"components": {"artifact_store": Component(flavor="object", options={"url": "s3://bucket"})}},
        ],
    )
    def test_what_makes_another_environment_makes_another_one(self, order: Order, fields: dict[str, object]) -> None:
        assert Builder(changed(order, **fields)).digest != Builder(order).digest

    def test_a_python_that_does_not_fit_does_not_count(self, order: Order) -> None:
        later = changed(order, requires=replace(TINY, python=">=3.12"))
        assert Builder(later).digest == Builder(changed(later, tag="cpython-3.10", version="3.10.1")).digest


class TestFailures:
    def test_without_uv_it_says_where_to_get_it(self, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PENSTOCK_UV", "/nowhere/uv")
        outcome = build(order)
        assert "no uv at /nowhere/uv" in str(outcome.failure)
        assert "penstock[environments]" in str(outcome.failure)
        assert leftovers(order) == []

    def test_a_full_disk_is_called_so(self, order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake(tmp_path, monkeypatch, 'echo "error: failed to write: No space left on device (os error 28)"; exit 2')
        outcome = build(order)
        assert "the disk is full" in str(outcome.failure)
        assert "environment prune" in str(outcome.failure)
        assert leftovers(order) == []

    def test_a_home_that_cannot_be_written_is_told(self, order: Order, tmp_path: Path) -> None:
        (tmp_path / "environments").write_text("a file")
        assert "File exists" in str(build(order).failure)

    def test_what_uv_says_at_the_end_is_told(
        self, order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = """
            [ $1 = venv ] && exit 0
            echo "Resolving"
            echo "error: No solution found"
            echo "  cause: Because tiny==1 conflicts with all else."
            exit 1
            """
        fake(tmp_path, monkeypatch, script)
        outcome = build(order)
        assert "could not be installed (Because tiny==1 conflicts with all else)" in str(outcome.failure)
        assert "Resolving" in outcome.lines
        assert outcome.lines[0].startswith("$ uv venv")
        assert leftovers(order) == []

    def test_a_python_that_cannot_be_had_is_told(
        self, order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake(tmp_path, monkeypatch, 'echo "error: No interpreter found for Python >=99"; exit 2')
        outcome = build(changed(order, requires=Requirements(python=">=99")))
        assert "no Python could be had here that fits >=99 (No interpreter found" in str(outcome.failure)

    def test_another_penstock_than_the_runners_cannot_be_had(self, order: Order) -> None:
        outcome = build(changed(order, requires=Requirements(packages=("penstock==99",))))
        assert f"this runner has Penstock {VERSION}" in str(outcome.failure)


def test_penstock_in_the_requirements_stands_for_what_its_extras_need(order: Order) -> None:
    plain = Builder(changed(order, requires=Requirements()))._packages
    same = Builder(changed(order, requires=Requirements(packages=("penstock",))))._packages
    more = Builder(changed(order, requires=Requirements(packages=("penstock[examples]",))))._packages
    assert same == plain
    assert {line for line in more if line not in plain} >= {"pandas>=2.2", "scikit-learn>=1.5", "s3fs>=2025.3"}
    assert not any(line.startswith("penstock") for line in more)


class TestLooking:
    def test_an_interpreter_is_asked(self) -> None:
        version = distribution("pytest").version
        fit, _ = look(sys.executable, Requirements(python=">=3.11", packages=(f"pytest=={version}", "no-such-thing")))
        assert fit is not None
        assert fit.misfits == ["no-such-thing is not installed"]
        assert fit.tag == f"cpython-{sys.version_info[0]}.{sys.version_info[1]}"
        assert fit.seen

    def test_one_that_has_no_penstock_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        fit, said = look(sys._base_executable, TINY)  # type: ignore[attr-defined]
        assert fit is None
        assert any("penstock" in line for line in said)

    def test_where_it_fits_there_is_nothing_to_prepare(self, tmp_path: Path) -> None:
        environment = Environment(
            python="3.11", executable="/nowhere/python", requires=Requirements(packages=("pytest",))
        )
        outcome = prepare(str(tmp_path), environment, {})
        assert (outcome.built, outcome.failure) == (None, None)

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness import Lab, Wrong, check, in_turns


def test_samples_are_taken_in_turns_and_the_first_round_only_warms() -> None:
    order: list[str] = []

    def ours() -> tuple[float, float]:
        order.append("ours")
        return len(order), -len(order)

    def yardstick() -> tuple[float]:
        order.append("yardstick")
        return (len(order),)

    mine, other = in_turns(3, ours, yardstick)
    assert order == ["yardstick", "ours", "ours", "yardstick", "yardstick", "ours", "ours", "yardstick"]
    assert (mine, other) == ([(3, 6, 7), (-3, -6, -7)], [(4, 5, 8)])


def test_a_wrong_result_ends_a_benchmark() -> None:
    check(True, "fine")
    with pytest.raises(Wrong, match="4 is not 5"):
        check(False, "4 is not 5")


def test_children_have_bytecode_caches_and_only_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PENSTOCK_URL", "https://elsewhere")
    monkeypatch.setenv("SOMETHING", "else")
    with Lab() as lab:
        environment = lab.environment(Path("/some/home"))
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["SOMETHING"] == "else"
    assert {name for name in environment if name.startswith("PENSTOCK_")} == {"PENSTOCK_HOME", "PENSTOCK_QUIET"}


def test_the_logs_of_a_lab_can_be_read_while_it_is_there() -> None:
    with Lab() as lab:
        (lab.new("home") / "out.log").write_text("It was the disk.")
        assert "It was the disk." in lab.last_words()


def test_a_lab_leaves_nothing_behind() -> None:
    with Lab() as lab:
        project = lab.project("clock.py")
        assert [file.name for file in project.iterdir()] == ["clock.py"]
        assert lab.new("home") != lab.new("home")
    assert not lab.path.exists()

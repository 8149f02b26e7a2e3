from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from benchmarks import __main__ as program
from benchmarks.figures import Aim, Figure
from benchmarks.harness import Lab, Wrong

SLOW = Figure(what="a snail", ours=[9.0], against="a hare", yardstick=[1.0], aim=Aim(1))


def slow(_: Lab, repeat: int) -> list[Figure]:
    return [SLOW] * repeat


def wrong(_: Lab, repeat: int) -> list[Figure]:
    raise Wrong(f"4 is not 5, {repeat} times")


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(program, "BENCHMARKS", {"slow": slow, "wrong": wrong})
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_figure_that_is_not_reached_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--only", "slow", "--repeat", "2"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "a snail" in line and "| no" in line][1:]


def test_a_wrong_result_is_one_and_nothing_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[object] = []
    monkeypatch.setattr(program.report, "write", lambda *given: kept.append(given))
    assert program.main(["--write"]) == 1
    told = capsys.readouterr()
    assert "a snail" in told.out
    assert "WRONG: wrong: 4 is not 5, 10 times" in told.err
    assert kept == []


def test_results_are_written_on_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []
    monkeypatch.setattr(program.report, "write", lambda figures, _: kept.append(figures))
    assert program.main(["--only", "slow", "--repeat", "1"]) == 0
    assert program.main(["--only", "slow", "--repeat", "1", "--write"]) == 0
    assert kept == [[SLOW]]


@pytest.mark.parametrize("given", [["--only", "nothing"], ["--repeat", "0"], ["--repeat", "often"]])
def test_what_cannot_be_measured_is_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        program.main(given)
    assert refused.value.code == 2
    assert given[1] in capsys.readouterr().err


def test_ctrl_c_ends_it_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> list[Figure]:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "BENCHMARKS", {"slow": interrupted})
    assert program.main([]) == 128 + signal.SIGINT

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from penstock import CachePolicy, pipeline, step
from penstock.errors import InvalidInput, Unavailable
from penstock.model.cache import CacheNote, Lookup
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration
from penstock.model.requirements import Requirements
from tests.unit.runtime.benching import Bench, printed, told

carried_out: list[str] = []
version = ["1"]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    carried_out.clear()
    version[:] = ["1"]


@step
def load(n: int, seed: int = 0) -> list[int]:
    carried_out.append("load")
    return list(range(n))


@step
def total(values: list[int]) -> int:
    carried_out.append("total")
    return sum(values)


@pipeline(enable_cache=True)
def summed(n: int, seed: int = 0) -> Any:
    return total(load(n, seed))


def note_of(events: list[Any], name: str) -> CacheNote:
    return next(event.cache for event in events if event.step == name and event.cache is not None)


def outcomes(bench: Bench, made: Any = summed, **parameters: Any) -> tuple[list[str], dict[str, CacheNote]]:
    """Which steps were carried out in one run, and what the cache said of each."""
    carried_out.clear()
    outcome, events = bench.run(made, **parameters)
    assert outcome.error is None, outcome.error
    return list(carried_out), {event.step: event.cache for event in events if event.cache is not None}


def test_the_same_again_is_taken_from_the_run_before(bench: Bench) -> None:
    first, notes = outcomes(bench, n=4)
    assert first == ["load", "total"]
    assert notes["load"].reason == "Not in the cache: this step has not completed before."
    outcome, events = bench.run(summed, n=4)
    assert outcome.outputs == {"output": 6}
    assert carried_out == ["load", "total"]
    assert told(events, "total") == ["step_declared", "step_cached"]
    note = note_of(events, "total")
    assert (note.hit, note.from_run, note.from_step) == (True, "r", "total")
    assert "nothing it hangs on has changed" in note.reason
    assert next(event.inputs for event in events if event.type == "step_cached" and event.step == "total")


def test_other_requirements_are_a_miss_that_says_so(bench: Bench) -> None:
    outcomes(bench, n=4)
    bench.requires = Requirements(packages=("tiny==1",))
    first, notes = outcomes(bench, n=4)
    assert first[-2:] == ["load", "total"]
    assert "requirements added" in notes["load"].reason
    bench.run(summed, n=4)
    assert carried_out[-2:] == ["load", "total"]
    assert len(carried_out) == len(first)
    bench.requires = Requirements(packages=("tiny==2",))
    _, notes = outcomes(bench, n=4)
    assert "requirements changed" in notes["load"].reason


def test_another_parameter_is_a_miss_that_says_so_and_equal_content_is_a_hit(bench: Bench) -> None:
    outcomes(bench, n=4)
    carried, notes = outcomes(bench, n=4, seed=1)
    assert carried == ["load"]  # another seed, the same list: what follows hangs on the content
    assert notes["load"].reason == "Not in the cache: parameter seed changed since run run."
    assert notes["total"].hit


def test_without_being_asked_nothing_is_looked_for(bench: Bench) -> None:
    @pipeline
    def plain(n: int) -> Any:
        return total(load(n))

    for _ in range(2):
        carried, notes = outcomes(bench, plain, n=2)
        assert (carried, notes) == (["load", "total"], {})


def test_the_last_word_has_who_starts_the_run(bench: Bench) -> None:
    outcomes(bench, n=4)
    bench.said = PipelineRunConfiguration(enable_cache=False)
    assert outcomes(bench, n=4) == (["load", "total"], {})
    bench.said = PipelineRunConfiguration(steps={"load": StepConfiguration(enable_cache=False)})
    assert outcomes(bench, n=4)[0] == ["load"]


def policy(bench: Bench, chosen: CachePolicy) -> tuple[list[str], dict[str, CacheNote]]:
    bench.said = PipelineRunConfiguration(steps={"load": StepConfiguration(cache_policy=chosen)})
    return outcomes(bench, n=4)


def current() -> str:
    return version[0]


class TestPolicies:
    def test_files(self, bench: Bench, tmp_path: Path) -> None:
        bench.root = tmp_path
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a.csv").write_text("1")
        chosen = CachePolicy(file_dependencies=("data",))
        assert policy(bench, chosen)[0] == ["load", "total"]
        assert policy(bench, chosen)[0] == []
        (tmp_path / "data" / "a.csv").write_text("2")
        carried, notes = policy(bench, chosen)
        assert carried == ["load"]
        assert notes["load"].reason == "Not in the cache: file data changed since run run."
        bench.root = tmp_path / "none"
        outcome, _ = bench.run(summed, n=4)
        assert outcome.error is not None
        assert "names a file that cannot be read" in outcome.error.message

    def test_a_function_of_ones_own(self, bench: Bench) -> None:
        @step(cache_policy=CachePolicy(cache_func=current))
        def table() -> int:
            carried_out.append("table")
            return 1

        @pipeline
        def made() -> Any:
            return table()

        assert outcomes(bench, made)[0] == ["table"]
        assert outcomes(bench, made)[0] == []
        version[:] = ["2"]
        carried, notes = outcomes(bench, made)
        assert carried == ["table"]
        assert "function" in notes["table"].reason

    def test_expiry(self, bench: Bench) -> None:
        chosen = CachePolicy(expires_after=3600)
        policy(bench, chosen)
        assert policy(bench, chosen)[0] == []
        step_name, key, earlier = next(one for one in bench.memory.results if one[0] == "load")
        old = dataclasses.replace(earlier, ended=earlier.ended.replace(year=earlier.ended.year - 1))
        bench.memory.results = [(step_name, key, old) if one[0] == "load" else one for one in bench.memory.results]
        carried, notes = policy(bench, chosen)
        assert carried == ["load"]
        assert "expired" in notes["load"].reason

    def test_ignored_inputs_do_not_matter_and_unknown_ones_are_told(self, bench: Bench) -> None:
        bench.said = PipelineRunConfiguration(
            steps={"load": StepConfiguration(cache_policy=CachePolicy(ignored_inputs=("seed",)))}
        )
        outcomes(bench, n=4, seed=1)
        assert outcomes(bench, n=4, seed=2)[0] == []
        bench.said = PipelineRunConfiguration(
            steps={"load": StepConfiguration(cache_policy=CachePolicy(ignored_inputs=("sead",)))}
        )
        error = bench.run(summed, n=4)[0].raised
        (mistake,) = error.errors  # type: ignore[union-attr]
        assert mistake["did_you_mean"] == "seed"
        assert len(set(mistake["allowed"])) == len(mistake["allowed"])

    def test_inputs_that_a_policy_for_all_steps_ignores_need_not_be_in_each(self, bench: Bench) -> None:
        bench.said = PipelineRunConfiguration(cache_policy=CachePolicy(ignored_inputs=("seed", "sead")))
        outcomes(bench, n=4, seed=1)
        assert "load" not in outcomes(bench, n=4, seed=2)[0]
        outcome, events = bench.run(summed, n=4)
        assert outcome.error is None
        remarks = [line for line in printed(events) if "cache policy" in line]
        assert len(remarks) == 1
        assert "'sead'" in remarks[0]

    def test_a_source_that_cannot_be_imported_is_told_where_it_stands(self, bench: Bench) -> None:
        bench.said = PipelineRunConfiguration(
            steps={"load": StepConfiguration(cache_policy=CachePolicy(source_dependencies=("no_such_module",)))}
        )
        error = bench.run(summed, n=4)[0].raised
        assert isinstance(error, InvalidInput)
        (mistake,) = error.errors
        assert mistake["pointer"] == "/steps/load/cache_policy/source_dependencies"
        assert "no_such_module" in error.detail


def test_changed_code_is_a_miss_that_says_so(bench: Bench) -> None:
    def made(body: str) -> Any:
        namespace: dict[str, Any] = {"carried_out": carried_out}
        source = f"def fit(x: int) -> int:\n    carried_out.append('fit')\n    return {body}\n"
        exec(source, namespace)
        fit = step(namespace["fit"])

        @pipeline(enable_cache=True)
        def run(x: int) -> Any:
            return fit(x)

        return run

    assert outcomes(bench, made("x"), x=1)[0] == ["fit"]
    assert outcomes(bench, made("x"), x=1)[0] == []
    carried, notes = outcomes(bench, made("x + 1"), x=1)
    assert carried == ["fit"]
    assert notes["fit"].reason == "Not in the cache: code changed since run run."


def test_what_has_no_form_as_json_cannot_be_looked_for(bench: Bench) -> None:
    @step
    def takes(x: Any) -> int:
        carried_out.append("takes")
        return 1

    @pipeline(enable_cache=True)
    def made() -> Any:
        return takes(object())

    for _ in range(2):
        carried, notes = outcomes(bench, made)
        assert carried == ["takes"]
        assert notes["takes"].key is None
        assert notes["takes"].reason == (
            "Not looked for in the cache: argument 'x' is a object, which has no form as JSON."
        )


def test_results_whose_files_are_gone_are_made_again(bench: Bench) -> None:
    outcomes(bench, n=4)
    for blob in bench.path.rglob("sha256/*/*"):
        blob.unlink()
    carried, notes = outcomes(bench, n=4)
    assert carried == ["load", "total"]
    assert "is not in the artifact store any more" in notes["load"].reason


def test_a_server_that_does_not_answer_is_no_reason_to_fail(bench: Bench) -> None:
    def away(_: Lookup) -> Any:
        raise Unavailable("The server is away.")

    bench.memory.ask = away  # type: ignore[method-assign]
    carried, notes = outcomes(bench, n=4)
    assert carried == ["load", "total"]
    assert notes["load"].reason == "Not looked for in the cache: The server is away."


def test_results_inside_lists_count_by_their_content(bench: Bench) -> None:
    @step
    def joined(parts: list[Any]) -> int:
        carried_out.append("joined")
        return len(parts)

    @pipeline(enable_cache=True)
    def made(n: int) -> Any:
        return joined([load(n), 5])

    assert outcomes(bench, made, n=2)[0] == ["load", "joined"]
    assert outcomes(bench, made, n=2)[0] == []
    assert outcomes(bench, made, n=3)[0] == ["load", "joined"]

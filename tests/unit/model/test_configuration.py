from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.model.configuration import (
    CachePolicy,
    PipelineRunConfiguration,
    ResourceSettings,
    Settings,
    StepConfiguration,
    StepRetryConfig,
    filled_in,
    for_step,
    laid_over,
    said,
)

AT = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)

common = st.fixed_dictionaries(
    {},
    optional={
        "enable_cache": st.booleans(),
        "retry": st.builds(StepRetryConfig, max_retries=st.integers(1, 3)),
        "cache_policy": st.builds(CachePolicy, expires_after=st.floats(1, 9)),
        "environment": st.dictionaries(st.sampled_from("ABC"), st.text(max_size=2)),
        "extra": st.dictionaries(st.sampled_from("abc"), st.integers()),
        "secrets": st.lists(st.sampled_from("xyz"), unique=True).map(tuple),
    },
)
LAYERS = st.lists(common, min_size=4, max_size=4)


@given(LAYERS)
def test_of_four_layers_the_last_that_says_something_has_the_word(layers: list[dict[str, Any]]) -> None:
    pipeline, step, run, one = layers
    effective = for_step(
        PipelineRunConfiguration(**pipeline),
        StepConfiguration(**step),
        PipelineRunConfiguration(
            **run, steps={"train": StepConfiguration(**one), "other": StepConfiguration(timeout=1)}
        ),
        "train",
    )
    for name in ("enable_cache", "retry", "cache_policy"):
        expected = next((layer[name] for layer in reversed(layers) if name in layer), None)
        assert getattr(effective, name) == expected
    for name in ("environment", "extra"):
        joined: dict[str, Any] = {}
        for layer in layers:
            joined |= layer.get(name, {})
        assert getattr(effective, name) == joined
    assert set(effective.secrets) == {secret for layer in layers for secret in layer.get("secrets", ())}
    assert len(set(effective.secrets)) == len(effective.secrets)
    assert effective.timeout is None


@given(common)
def test_what_says_nothing_changes_nothing(some: dict[str, Any]) -> None:
    configuration = StepConfiguration(**some)
    assert laid_over(configuration, StepConfiguration()) == configuration
    assert laid_over(StepConfiguration(), configuration) == configuration


def test_the_time_limit_of_a_run_is_not_that_of_its_steps() -> None:
    run = PipelineRunConfiguration(timeout=9)
    assert for_step(PipelineRunConfiguration(timeout=8), StepConfiguration(), run, "train").timeout is None


def test_settings_are_joined_field_by_field() -> None:
    below = StepConfiguration(settings=Settings(resources=ResourceSettings(cpu_count=2, memory="1GB")))
    above = StepConfiguration(settings=Settings(resources=ResourceSettings(cpu_count=4)))
    assert laid_over(below, above).settings.resources == ResourceSettings(cpu_count=4, memory="1GB")


def test_what_is_said_of_single_steps_is_joined_step_by_step() -> None:
    below = PipelineRunConfiguration(steps={"a": StepConfiguration(timeout=1), "b": StepConfiguration(timeout=2)})
    above = PipelineRunConfiguration(steps={"a": StepConfiguration(enable_cache=True)})
    assert laid_over(below, above).steps == {
        "a": StepConfiguration(timeout=1, enable_cache=True),
        "b": StepConfiguration(timeout=2),
    }


def test_said_is_what_a_person_would_write() -> None:
    configuration = PipelineRunConfiguration(
        tags=("x",), steps={"a": StepConfiguration(timeout=1)}, retry=StepRetryConfig(max_retries=2)
    )
    assert said(configuration) == {"tags": ["x"], "steps": {"a": {"timeout": 1}}, "retry": {"max_retries": 2}}
    assert said(PipelineRunConfiguration()) == {}


def test_every_option_of_all_steps_is_one_of_a_step_too() -> None:
    of_run = {one.name for one in fields(PipelineRunConfiguration)} - {"parameters", "timeout"}
    of_step = {one.name for one in fields(StepConfiguration)}
    hooks = {"on_start", "on_success", "on_failure", "on_end"}
    shared = (of_run & of_step) - hooks
    for name in shared:
        value: Any = {"environment": {"A": "1"}, "secrets": ("s",), "enable_cache": False}.get(name)
        if value is not None:
            run = replace(PipelineRunConfiguration(), **{name: value})
            assert getattr(for_step(run, StepConfiguration(), PipelineRunConfiguration(), "a"), name) == value


class TestRetry:
    @pytest.mark.parametrize(
        ("retry", "waits"),
        [
            (StepRetryConfig(delay=3), [3, 3, 3]),
            (StepRetryConfig(delay=1, backoff=2), [1, 2, 4]),
            (StepRetryConfig(delay=1, backoff=10, max_delay=50), [1, 10, 50]),
        ],
    )
    def test_the_waits(self, retry: StepRetryConfig, waits: list[float]) -> None:
        assert [retry.wait_before(number, 0.5) for number in (1, 2, 3)] == waits

    @given(st.floats(0, 1), st.floats(0, 1))
    def test_jitter_stays_within_its_share(self, jitter: float, chance: float) -> None:
        wait = StepRetryConfig(delay=10, jitter=jitter).wait_before(1, chance)
        assert 10 * (1 - jitter) - 1e-9 <= wait <= 10 * (1 + jitter) + 1e-9

    def test_subclasses_and_names_count(self) -> None:
        for on in (OSError, "OSError", [ValueError, "OSError"]):
            retry = StepRetryConfig(on=on)  # type: ignore[arg-type]
            assert retry.concerns(ConnectionError("x"))
            assert not retry.concerns(KeyError("x"))

    def test_an_interrupt_is_never_worth_one(self) -> None:
        assert not StepRetryConfig().concerns(KeyboardInterrupt())

    def test_a_string_that_names_nothing_concerns_nothing(self) -> None:
        assert not StepRetryConfig(on=("NoSuchError",)).concerns(ValueError())


@pytest.mark.parametrize(
    ("kind", "values", "at"),
    [
        (StepRetryConfig, {"max_retries": 0}, "/max_retries"),
        (StepRetryConfig, {"delay": -1}, "/delay"),
        (StepRetryConfig, {"jitter": 1.5}, "/jitter"),
        (StepRetryConfig, {"on": 3}, "/on"),
        (CachePolicy, {"expires_after": 0}, "/expires_after"),
        (StepConfiguration, {"timeout": 0}, "/timeout"),
        (StepConfiguration, {"environment": {"A=B": "1"}}, "/environment"),
        (PipelineRunConfiguration, {"timeout": -3}, "/timeout"),
        (ResourceSettings, {"cpu_count": -1}, "/cpu_count"),
        (ResourceSettings, {"memory": "much"}, "/memory"),
        (ResourceSettings, {"memory": "GB"}, "/memory"),
        (ResourceSettings, {"memory": "-1GB"}, "/memory"),
        (ResourceSettings, {"memory": "1e999GB"}, "/memory"),
        (ResourceSettings, {"memory": "nanGB"}, "/memory"),
        (ResourceSettings, {"memory": "5XB"}, "/memory"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(kind: Any, values: dict[str, Any], at: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        kind(**values)
    assert [one["pointer"] for one in raised.value.errors] == [at]


@pytest.mark.parametrize(
    ("text", "count"), [("1B", 1), ("512MiB", 512 * 2**20), ("4GB", 4 * 10**9), ("1.5 KiB", 1536), ("2TB", 2 * 10**12)]
)
def test_memory_has_a_unit(text: str, count: int) -> None:
    assert ResourceSettings(memory=text).memory_bytes == count


class TestFilledIn:
    def test_dates_and_substitutions(self) -> None:
        filled = filled_in("m-{date}-{who}-{time}", {"who": "ann"}, AT, where="/run_name")
        assert filled == "m-2026_03_04-ann-05_06_07_000008"

    def test_an_unknown_name_is_named(self) -> None:
        with pytest.raises(InvalidInput) as raised:
            filled_in("m-{daet}", {}, AT, where="/run_name")
        (mistake,) = raised.value.errors
        assert (mistake["pointer"], mistake["did_you_mean"]) == ("/run_name", "date")

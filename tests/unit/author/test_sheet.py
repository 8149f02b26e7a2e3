from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from penstock import pipeline, step
from penstock.author.freeze import freeze
from penstock.author.sheet import RUN_OPTIONS, STEP_OPTIONS
from penstock.client import configuration
from penstock.errors import AuthoringError, InvalidInput
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration, said
from penstock.model.inputs import resolve
from penstock.model.snapshot import Snapshot
from tests.unit.store.samples import AT


@step
def load(url: str, limit: int = 10) -> list[int]:
    return [limit]


@step
def fit(data: list[int], rate: float, kind: str = "a: #b") -> float:
    return rate


@pipeline(tags=["of-code"])
def train(
    url: str,
    rate: Annotated[float, Field(gt=0, description="How fast it learns.")] = 0.1,
    mode: Literal["x", "y"] = "x",
) -> Any:
    return fit(load(url), rate, kind="fixed")


def written(tmp_path: Path, made: Any = train) -> str:
    path = tmp_path / "run.yaml"
    made.write_run_configuration_template(path)
    return path.read_text()


def test_everything_that_can_be_said_stands_in_it(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert "# How fast it learns. (number, exclusiveMinimum 0, required)" not in text
    assert '  # How fast it learns. (number, exclusiveMinimum 0)\n  "rate": 0.1' in text
    assert '  # string, required\n  # "url":' in text
    assert 'one of ["x", "y"]' in text
    assert '      "kind": "fixed"' in text
    for name in (*RUN_OPTIONS, "limit"):
        assert name in text
    known = {one.name for one in fields(PipelineRunConfiguration)} - {"parameters", "steps"}
    assert set(RUN_OPTIONS) == known
    assert set(STEP_OPTIONS) == {one.name for one in fields(StepConfiguration)} - {"parameters"}


def test_it_can_be_read_as_it_is_and_as_it_is_filled_in(tmp_path: Path) -> None:
    text = written(tmp_path)
    path = tmp_path / "run.yaml"
    assert said(configuration.checked(configuration.read(path))) == {
        "parameters": {"rate": 0.1, "mode": "x"},
        "steps": {"fit": {"parameters": {"kind": "fixed"}}},
    }
    filled = "\n".join(
        line.replace('# "url":', '"url": u').replace("# ", "", 1)
        if (line.startswith("# ") and line[2:].partition(":")[0] in {*RUN_OPTIONS}) or '# "url"' in line
        else line
        for line in text.splitlines()
    )
    path.write_text(filled)
    whole = configuration.checked(configuration.read(path))
    assert whole.parameters["url"] == "u"
    assert whole.retry is not None
    assert whole.settings.resources is not None
    assert whole.execution_mode == "continue_on_failure"


def test_a_pipeline_without_parameters_has_a_sheet_too(tmp_path: Path) -> None:
    @pipeline
    def bare() -> None: ...

    written(tmp_path, bare)
    assert configuration.read(tmp_path / "run.yaml") == {}


def test_a_file_that_is_there_stays_unless_told(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(AuthoringError, match="force=True"):
        train.write_run_configuration_template(tmp_path / "run.yaml")
    train.write_run_configuration_template(tmp_path / "run.yaml", force=True)
    with pytest.raises(AuthoringError, match="cannot be written"):
        train.write_run_configuration_template(tmp_path / "none" / "run.yaml")


class TestFiles:
    @staticmethod
    def frozen(made: Any) -> Snapshot:
        return Snapshot(id="s", pipeline_id="p", content=freeze(made, lenient=True).content, created=AT)

    def test_what_a_file_says_is_frozen_and_a_run_may_say_otherwise(self, tmp_path: Path) -> None:
        file = tmp_path / "prod.yaml"
        file.write_text(
            "parameters: {url: prod, rate: 0.5}\ntags: [prod]\nretry: {max_retries: 2}\n"
            "steps:\n  fit:\n    parameters: {kind: k}\n    timeout: 5\n"
        )
        made = train.with_options(config_path=file, run_name="n-{date}", parameters={"rate": 0.7})
        snapshot = self.frozen(made)
        effective = resolve(snapshot, PipelineRunConfiguration(parameters={"mode": "y"}, tags=("mine",)))
        assert effective.parameters == {"url": "prod", "rate": 0.7, "mode": "y"}
        assert effective.step_parameters == {"fit": {"kind": "k"}}
        assert effective.configuration.tags == ("of-code", "prod", "mine")
        assert effective.configuration.steps["fit"].timeout == 5
        assert effective.origins["/parameters/url"] == "snapshot"
        assert effective.origins["/parameters/mode"] == "request"
        assert self.frozen(train).content.given == PipelineRunConfiguration()

    @pytest.mark.parametrize(
        ("text", "pointer", "near"),
        [
            ("paramters: {}", "/paramters", "parameters"),
            ("steps: {fit: {retires: 1}}", "/steps/fit/retires", "retry"),
            ("settings: {resources: {cpu_cout: 1}}", "/settings/resources/cpu_cout", "cpu_count"),
            ("retry: {max_retries: 0}", "/retry/max_retries", None),
            ("timeout: soon", "/timeout", None),
        ],
    )
    def test_what_is_wrong_in_a_file_is_told_with_its_place(
        self, tmp_path: Path, text: str, pointer: str, near: str | None
    ) -> None:
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(InvalidInput) as caught:
            train.with_options(config_path=tmp_path / "c.yaml")
        (error,) = caught.value.errors
        assert (error["pointer"], error.get("did_you_mean")) == (pointer, near)

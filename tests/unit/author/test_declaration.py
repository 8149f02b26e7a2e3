from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from penstock import pipeline, step
from penstock.author.declaration import checked_name
from penstock.author.pipeline import Pipeline
from penstock.author.step import Step
from penstock.errors import AuthoringError


def train(rate: float = 0.1) -> float:
    """Train a model."""
    return rate


@pytest.mark.parametrize("decorate", [step, pipeline])
def test_a_declaration_looks_like_its_function(decorate: Any) -> None:
    declared = decorate(train)
    assert declared.function is declared.__wrapped__ is train
    assert (declared.__name__, declared.__qualname__, declared.__module__) == ("train", "train", __name__)
    assert declared.__doc__ == "Train a model."
    assert inspect.signature(declared) == inspect.signature(train)
    assert declared.parameters() == ("rate",)
    assert repr(declared) == f"<{declared.kind} train>"


@pytest.mark.parametrize(("decorate", "kind"), [(step, Step), (pipeline, Pipeline)])
def test_both_forms_of_the_decorator(decorate: Any, kind: type) -> None:
    assert type(decorate(train)) is kind
    assert decorate(train).name == "train"
    assert decorate()(train).name == "train"
    assert decorate(name="my-train")(train).name == "my-train"
    assert decorate(name="my-train")(train).__name__ == "train"


@pytest.mark.parametrize("decorate", [step, pipeline])
def test_a_declaration_never_changes(decorate: Any) -> None:
    declared = decorate(train)
    with pytest.raises(AuthoringError, match="cannot be changed"):
        declared.name = "other"
    with pytest.raises(AuthoringError, match="cannot be changed"):
        del declared.function
    assert declared.name == "train"


@pytest.mark.parametrize("decorate", [step, pipeline])
@pytest.mark.parametrize("thing", [len, 3, "train", functools.partial(train, 1), dict])
def test_only_functions_can_be_declared(decorate: Any, thing: Any) -> None:
    with pytest.raises(AuthoringError, match="written with `def`"):
        decorate(thing)


def test_nothing_is_declared_twice() -> None:
    with pytest.raises(AuthoringError, match="is a step already"):
        pipeline(step(train))  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["train", "_x", "Größe", "a b", "v1.2", "a-b", "7", "x" * 128])
def test_names_that_fit(name: str) -> None:
    assert checked_name("a step", name) == name


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a/b", "a@b", "a\n", "../a", "-a", ".a", "x" * 129, "<lambda>", 3, None]
)
def test_names_that_do_not(name: Any) -> None:
    with pytest.raises(AuthoringError, match="cannot name a step"):
        checked_name("a step", name)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(AuthoringError, match="'<lambda>' cannot name"):
        step(lambda x: x)
    assert step(name="same")(lambda x: x).name == "same"

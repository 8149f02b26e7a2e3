from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from penstock import step
from penstock.author.handle import Handle
from penstock.errors import AuthoringError
from penstock.model.graph import ArtifactConfig, Output

if TYPE_CHECKING:
    from tests.unit.author.conftest import Recorder


@step
def load(url: str, limit: int = 10) -> list[int]:
    return [len(url), limit]


@step
def split(data: list[int]) -> tuple[Annotated[list[int], "train"], list[int]]:
    return data[:1], data[1:]


@step
def notify(text: str) -> None: ...


@step
def guess(data: Any, **options: Any):  # type: ignore[no-untyped-def]  # what users write
    return options


def test_called_alone_it_is_the_function() -> None:
    assert load("abc") == [3, 10]
    assert load("abc", id="x", after="y", limit=1) == [3, 1]


def test_called_in_a_pipeline_it_is_taken_in(recorder: Recorder) -> None:
    handle = load("abc", limit=2)
    assert isinstance(handle, Handle)
    assert (handle.step, handle.output, handle.type) == ("load", "output", "list[int]")
    assert handle.load() == "the value of load.output"
    assert recorder.calls == [("load", {"url": "abc", "limit": 2}, ())]


def test_several_results_are_several_handles(recorder: Recorder) -> None:
    train, rest = split(load("abc"))
    assert (train.output, rest.output) == ("train", "output_1")
    assert notify("x") is None
    assert guess([1], depth=3).output == "output"
    assert recorder.calls[-1] == ("guess", {"data": [1], "depth": 3}, ())


def test_repeated_calls_are_numbered_and_can_be_named(recorder: Recorder) -> None:
    assert [load("a").step, load("b").step, load("c", id="mine").step, load("d").step] == [
        "load",
        "load_2",
        "mine",
        "load_3",
    ]


def test_after_takes_ids_and_results_and_lists_of_them(recorder: Recorder) -> None:
    data = load("a")
    halves = split(data)
    notify("x", after="load")
    notify("x", after=[data, "load", halves])
    assert recorder.calls[2][2] == ("load",)
    assert recorder.calls[3][2] == (data, "load", *halves)


def test_after_what_returned_nothing_is_told(recorder: Recorder) -> None:
    with pytest.raises(AuthoringError, match=r"annotated `-> None` returns None: name it by its invocation id"):
        notify("x", after=notify("y"))
    with pytest.raises(AuthoringError, match="after=3: expected an invocation id"):
        notify("x", after=[3])


@pytest.mark.parametrize("name", ["id", "after"])
def test_the_words_of_a_call_cannot_be_arguments(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def train({name}): ...", namespace)
    with pytest.raises(AuthoringError, match=f"argument called '{name}'"):
        step(namespace["train"])


def test_a_wrong_call_names_the_step_and_what_is_allowed(recorder: Recorder) -> None:
    with pytest.raises(
        AuthoringError, match=r"(?s)Step load cannot be called.*Did you mean 'limit'.*url, limit.*/url: Missing"
    ):
        load(limitt=3)
    assert recorder.calls == []


def test_outputs_and_split_follow_the_annotation() -> None:
    named = Output(name="train", type="list[int]", artifact=ArtifactConfig(name="train"))
    assert split.outputs() == (named, Output(name="output_1", type="list[int]"))
    assert split.split(([1], [2])) == {"train": [1], "output_1": [2]}
    assert notify.outputs() == ()
    assert guess.outputs() == (Output(name="output", type="Any"),)


def test_annotations_of_arguments_are_types() -> None:
    assert load.annotation("url") is str
    assert load.annotation("limit") is int
    assert guess.annotation("data") is None
    assert load.annotation("nothing") is None


def test_source_names_the_module_and_the_attribute() -> None:
    assert load.source == f"{__name__}:load"


def test_declaring_and_calling_steps_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from penstock import pipeline, step\n"
        "@step\n"
        "def one(n: int) -> int: return n\n"
        "@pipeline\n"
        "def flow(n: int = 1): return one(n)\n"
        "one(3)\n"
        "heavy = {'pydantic', 'asyncio', 'http.client', 'msgspec', 'inspect', 'tarfile', 'pathspec', 'dataclasses'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

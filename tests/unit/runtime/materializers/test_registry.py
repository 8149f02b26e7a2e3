from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd
import pytest

from penstock.errors import ArtifactError, AuthoringError
from penstock.runtime.materializers import Files, Materializer, Sink, Unfit, find, register, registry


class Animal:
    def __init__(self, name: str) -> None:
        self.name = name


class Dog(Animal):
    pass


class Plant:
    pass


@dataclasses.dataclass
class Record:
    x: int


class Named(Materializer):
    """Keeps anything with a name."""

    name = "named"
    kind: type = Animal

    def handles(self, kind: type) -> bool:
        return kind is self.kind

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        if value.name == "unfit":
            sink.write("half", b"")
            raise Unfit
        sink.write("name", value.name.encode())
        return {"name": value.name}

    def load(self, files: Files, type_hint: Any) -> Any:
        return self.kind(files.read("name").decode())


@pytest.fixture(autouse=True)
def _registry_as_it_was() -> Iterator[None]:
    yield
    registry._registered.clear()
    registry._for_kind.cache_clear()
    registry._plug_ins.cache_clear()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a", "text"),
        (b"a", "binary"),
        (1, "structured"),
        ([], "structured"),
        (Record(1), "structured"),
        (np.arange(2), "numpy"),
        (np.float64(1), "structured"),
        (pd.DataFrame(), "pandas"),
        (pd.Series(dtype="int8"), "pandas"),
        (Animal("a"), "pickle"),
        (Animal, "pickle"),
    ],
)
def test_the_class_of_a_value_decides(value: Any, name: str) -> None:
    assert find(value).name == name


def test_a_registered_one_is_used(shelf: Any) -> None:
    assert find(Dog("a")).name == "pickle"
    assert register(Named) is Named
    artifact = shelf.save(Dog("rex"))
    assert (artifact.materializer, artifact.code_bearing) == ("named", False)
    assert [file.name for file in artifact.files] == ["name"]
    assert shelf.load(artifact).name == "rex"


def test_the_most_specific_one_wins() -> None:
    @register
    class ForDogs(Named):
        name = "dogs"
        kind = Dog

    register(Named)
    assert find(Dog("a")).name == "dogs"
    assert find(Animal("a")).name == "named"


def test_a_registered_one_comes_before_the_built_in() -> None:
    @register
    class ForRecords(Named):
        name = "records"
        kind = Record

    assert find(Record(1)).name == "records"


def test_one_that_does_not_fit_leaves_nothing_behind(shelf: Any) -> None:
    register(Named)
    artifact = shelf.save(Animal("unfit"))
    assert artifact.materializer == "pickle"
    assert [file.name for file in artifact.files] == ["value.pkl"]


def test_parts_use_it_too(shelf: Any) -> None:
    register(Named)
    artifact = shelf.save({"pet": Dog("rex")})
    assert artifact.materializer == "structured"
    assert shelf.load(artifact)["pet"].name == "rex"


def test_a_name_has_one_owner() -> None:
    register(Named)
    register(Named)  # a cell that ran twice

    class Other(Named):
        pass

    with pytest.raises(AuthoringError, match="'named' already"):
        register(Other)

    class Text(Named):
        name = "text"

    with pytest.raises(AuthoringError, match="'text' already"):
        register(Text)


@pytest.fixture
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plants(Named):
        name = "plants"
        kind = Plant

    class Strings(Named):
        name = "strings"
        kind = str

    module = type(sys)("plug_in_for_tests")
    module.Plants, module.Strings = Plants, Strings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plug_in_for_tests", module)
    found = [
        metadata.EntryPoint("plants", "plug_in_for_tests:Plants", registry.GROUP),
        metadata.EntryPoint("strings", "plug_in_for_tests:Strings", registry.GROUP),
        metadata.EntryPoint("broken", "plug_in_for_tests:Missing", registry.GROUP),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: found if group == registry.GROUP else [])
    registry._for_kind.cache_clear()
    registry._plug_ins.cache_clear()


def test_plug_ins_serve_classes_that_nobody_else_does(plug_ins: None) -> None:
    with pytest.warns(UserWarning, match="'broken'.*cannot be used"):
        assert find(Plant()).name == "plants"
    assert find("a").name == "text"
    assert registry.named("strings").name == "strings"


def test_a_broken_plug_in_keeps_nobody_from_saving(plug_ins: None, shelf: Any) -> None:
    with pytest.warns(UserWarning, match="'broken'"):
        assert shelf.save(Animal("a")).materializer == "pickle"
    with pytest.raises(ArtifactError, match="'broken', which is not known here"):
        registry.named("broken")

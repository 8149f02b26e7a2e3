from __future__ import annotations

import collections
import datetime as dt
import json.decoder
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypeVar, Union

import pytest

from penstock.author.annotations import bare, class_text, hints, resolved, type_text

if TYPE_CHECKING:
    import somewhere as sw
    from somewhere import Frame

T = TypeVar("T")


class Model: ...


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (None, "None"),
        (type(None), "None"),
        (Any, "Any"),
        (dict[str, float], "dict[str, float]"),
        (typing.Dict[str, float], "dict[str, float]"),  # noqa: UP006 - users write it
        (tuple[int, ...], "tuple[int, ...]"),
        (Optional[int], "int | None"),  # noqa: UP045 - users write it
        (Union[int, str], "int | str"),  # noqa: UP007 - users write it
        (int | None, "int | None"),
        (list[int | None], "list[int | None]"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[int, "name"], "int"),
        (list[Annotated[int, 3]], "list[int]"),
        (Model, f"{__name__}.Model"),
        (dt.date, "datetime.date"),
        (json.decoder.JSONDecoder, "json.JSONDecoder"),
        (collections.OrderedDict, "collections.OrderedDict"),
        (Callable[[int, str], None], "collections.abc.Callable[[int, str], None]"),
        (T, "~T"),
        (list["Model"], "list[Model]"),  # type: ignore[type-arg]
    ],
)
def test_types_as_text(annotation: Any, text: str) -> None:
    assert type_text(annotation) == text


def test_class_text_of_builtins_and_of_local_classes() -> None:
    class Local: ...

    assert class_text(dict) == "dict"
    assert class_text(Local).endswith("test_class_text_of_builtins_and_of_local_classes.<locals>.Local")


def annotated(
    a: int,
    b: Annotated[str, "note"],
    c: Frame,
    d: dict[str, sw.deep.Frame[int]],
    e: Frame | None,
    f: list[Model],
    g: Any,
) -> tuple[sw.Frame, Annotated[Frame, "rest"]]: ...


def test_hints_are_types_and_keep_what_is_annotated() -> None:
    found = hints(annotated)
    assert found["a"] is int
    assert found["b"] == Annotated[str, "note"]
    assert found["f"] == list[Model]


def test_names_that_are_only_there_for_the_type_checker_spoil_nothing() -> None:
    found = hints(annotated)
    assert [type_text(found[name]) for name in ("c", "d", "e", "return")] == [
        "Frame",
        "dict[str, sw.deep.Frame]",
        "Frame | None",
        "tuple[sw.Frame, Frame]",
    ]
    assert [name for name, hint in found.items() if not resolved(hint)] == ["c", "d", "e", "return"]


def test_bare_is_what_can_be_used() -> None:
    found = hints(annotated)
    assert (bare(found["b"]), bare(found["c"]), bare(found["d"]), bare(found["f"])) == (str, Any, Any, list[Model])


def test_local_classes_that_the_function_uses_are_found() -> None:
    class Used: ...

    class Unused: ...

    def function(used: Used, unused: Unused) -> Any:
        return Used

    found = hints(function)
    assert found["used"] is Used
    assert not resolved(found["unused"])


def test_a_class_that_is_not_there_yet_is_no_crash() -> None:
    def function(later: Later) -> Any:
        return Later

    assert not resolved(hints(function)["later"])

    class Later: ...

    assert hints(function)["later"] is Later


def test_nonsense_is_any() -> None:
    def function(a: 1 / 0, b: "not an expression", c: int + 1, d: int) -> None: ...  # type: ignore[valid-type]  # noqa: F722

    assert hints(function) == {"a": Any, "b": Any, "c": Any, "d": int, "return": type(None)}


def test_literals_are_not_names() -> None:
    assert resolved(Literal["Frame"])
    assert not resolved(list["Frame"])
    assert hints(len) == {}

from __future__ import annotations

import dataclasses
import enum
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypedDict

import jsonschema_rs
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, TypeAdapter

from penstock import step
from penstock.author import schema
from penstock.author.schema import coerce, parameter_schema, step_schema
from penstock.errors import AuthoringError, InvalidInput

if TYPE_CHECKING:
    import pandas as pd


class Kind(enum.Enum):
    FOREST = "forest"
    LINEAR = "linear"


class Split(BaseModel):
    share: float = Field(0.2, gt=0, lt=1)
    seed: int


@dataclasses.dataclass
class Options:
    depth: int
    split: Split
    names: list[str] = dataclasses.field(default_factory=list)


class Row(typing_extensions.TypedDict):
    x: int


class OldRow(TypedDict):
    x: int


class Frame:
    """A type that pydantic knows nothing of."""


FRAME = Frame()


def taking(annotation: Any, *default: Any) -> Callable[..., Any]:
    """A function with one argument `x`."""

    def function(x) -> None: ...  # type: ignore[no-untyped-def]

    function.__annotations__ = {"x": annotation}
    function.__defaults__ = default or None
    return function


def property_of(annotation: Any, *default: Any) -> dict[str, Any]:
    found: dict[str, Any] = parameter_schema(taking(annotation, *default))["properties"]["x"]
    return found


def several(
    untyped,  # type: ignore[no-untyped-def]
    number: int,
    name: str | None = None,
    mode: Literal["fast", "good"] = "fast",
    *,
    options: Options | None = None,
    rows: list[Row] = [],  # noqa: B006 - users write it
) -> None: ...


class TestParameterSchema:
    def test_it_is_json_schema(self) -> None:
        described = parameter_schema(several)
        jsonschema_rs.meta.validate(described)
        json.dumps(described, allow_nan=False)
        assert described["type"] == "object"
        assert described["additionalProperties"] is False
        assert described["required"] == ["untyped", "number"]
        assert list(described["properties"]) == ["untyped", "number", "name", "mode", "options", "rows"]

    @pytest.mark.parametrize(
        ("annotation", "default", "described"),
        [
            (Any, 3, {"default": 3}),
            (str | None, None, {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
            (int, None, {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}),
            (Literal["a", "b"], "a", {"type": "string", "enum": ["a", "b"], "default": "a"}),
            (Kind, Kind.FOREST, {"$ref": "#/$defs/Kind", "default": "forest"}),
            (date, date(2026, 1, 2), {"type": "string", "format": "date", "default": "2026-01-02"}),
            (timedelta, timedelta(seconds=90), {"type": "string", "format": "duration", "default": "PT1M30S"}),
            (Path, Path("data"), {"type": "string", "format": "path", "default": "data"}),
            (list[int], [1, 2], {"type": "array", "items": {"type": "integer"}, "default": [1, 2]}),
            ("pd.DataFrame", 5, {"default": 5}),
            (
                Annotated[float, Field(title="Rate", description="How fast.", gt=0, examples=[0.1])],
                0.1,
                {
                    "type": "number",
                    "title": "Rate",
                    "description": "How fast.",
                    "exclusiveMinimum": 0,
                    "examples": [0.1],
                    "default": 0.1,
                },
            ),
        ],
    )
    def test_properties(self, annotation: Any, default: Any, described: dict[str, Any]) -> None:
        assert property_of(annotation, default) == described

    def test_a_parameter_that_may_be_none_keeps_its_description(self) -> None:
        described = property_of(Annotated[int, Field(description="How many.", ge=1)], None)
        assert (described["description"], described["default"]) == ("How many.", None)
        assert {"type": "null"} in described["anyOf"]

    @pytest.mark.parametrize("default", [{"b", "a", "c"}, frozenset({"c", "a", "b"})])
    def test_sets_have_one_order(self, default: Any) -> None:
        assert property_of(set[str], default)["default"] == ["a", "b", "c"]

    def test_defaults_of_models(self) -> None:
        assert property_of(Split, Split(seed=3))["default"] == {"share": 0.2, "seed": 3}
        assert property_of(Options, Options(1, Split(seed=3)))["default"]["split"] == {"share": 0.2, "seed": 3}
        assert property_of(Decimal, Decimal("1.5"))["default"] == "1.5"

    def test_definitions_are_kept(self) -> None:
        described = parameter_schema(several)
        assert {"Options", "Split", "Row"} == set(described["$defs"])
        validator = jsonschema_rs.Draft202012Validator(described)
        given = {"untyped": [], "number": 1, "options": {"depth": 1, "split": {"seed": 1}}}
        assert validator.is_valid(given)
        assert not validator.is_valid(given | {"options": {"depth": 1, "split": {"seed": "x"}}})
        assert not validator.is_valid(given | {"more": 1})

    def test_models_of_the_same_name_stay_apart(self) -> None:
        def scope(kind: type) -> type:
            class Config(BaseModel):
                x: kind  # type: ignore[valid-type]

            return Config

        def function(a, b) -> None: ...  # type: ignore[no-untyped-def]

        function.__annotations__ = {"a": scope(int), "b": scope(str)}
        described = parameter_schema(function)
        validator = jsonschema_rs.Draft202012Validator(described)
        assert validator.is_valid({"a": {"x": 1}, "b": {"x": "y"}})
        assert not validator.is_valid({"a": {"x": "y"}, "b": {"x": "y"}})

    @pytest.mark.parametrize(
        "annotation",
        [Any, bool, int, float, str, Optional[int], str | None, None | float, Optional[bool]],  # noqa: UP045
    )
    def test_what_is_known_without_pydantic_is_what_pydantic_says(self, annotation: Any) -> None:
        assert property_of(annotation) == TypeAdapter(annotation).json_schema()

    def test_plain_signatures_need_no_pydantic(self) -> None:
        code = (
            "import sys\n"
            "from penstock.author.schema import coerce, parameter_schema\n"
            "def f(a, b: int, c: str = 'x', d: float | None = None): ...\n"
            "parameter_schema(f)\n"
            "coerce(f, {'a': [1], 'b': 2, 'c': 'y', 'd': None})\n"
            "assert 'pydantic' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_a_type_that_json_cannot_give(self) -> None:
        def function(data: list[Frame]) -> None: ...

        with pytest.raises(
            AuthoringError,
            match=r"Parameter 'data' of .*function' has type list\[.*Frame\], which cannot.*load the data in a step",
        ):
            parameter_schema(function)

        def callback(done: Callable[[], None]) -> None: ...

        with pytest.raises(AuthoringError, match="Parameter 'done'"):
            parameter_schema(callback)

    @pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes typing's own from Python 3.12 on")
    def test_the_reason_is_told(self) -> None:
        def function(row: OldRow) -> None: ...

        with pytest.raises(AuthoringError, match=r"pydantic: Please use `typing_extensions.TypedDict`"):
            parameter_schema(function)


def sentinel(x: Any = FRAME) -> None: ...
def misfit(x: int = "many") -> None: ...  # type: ignore[assignment]
def infinite(x: float = float("inf")) -> None: ...
def field(x: int = Field(3)) -> None: ...
def secret(x: SecretStr = SecretStr("hush")) -> None: ...  # noqa: B008
def surrogate(x: str = "\ud800") -> None: ...
def too_small(x: Annotated[int, Field(ge=1)] = 0) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (sentinel, "is not JSON.*Use None as the default"),
        (misfit, "does not fit its annotation: Input should be a valid integer.*It is 'many'"),
        (infinite, "is not JSON.*inf"),
        (field, r"is a FieldInfo of pydantic.*Annotated\[TYPE, Field"),
        (secret, "A secret has no default"),
        (surrogate, "is not JSON"),
        (too_small, "greater than or equal to 1"),
    ],
)
def test_defaults_that_cannot_be_frozen(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(AuthoringError, match=f"(?s)The default of parameter 'x' of '{function.__name__}'.*{message}"):
        parameter_schema(function)


def test_a_default_inside_field_is_none_that_python_knows() -> None:
    def function(x: Annotated[int, Field(default=3)]) -> None: ...

    assert parameter_schema(function)["required"] == ["x"]
    assert parameter_schema(function)["properties"] == {"x": {"type": "integer"}}


@pytest.mark.parametrize("code", ["def f(*a): ...", "def f(a, /): ..."])
def test_signatures_without_names_are_refused(code: str) -> None:
    names: dict[str, Any] = {}
    exec(code, names)
    with pytest.raises(AuthoringError, match="by name"):
        parameter_schema(names["f"])


class TestStepSchema:
    @staticmethod
    def described(**without: Any) -> dict[str, Any]:
        @step
        def train(
            data: Frame, many: list[Frame], depth: int, kind: Kind = Kind.LINEAR, x: Any = FRAME, later: pd.X = 1
        ) -> None: ...

        return step_schema(train, **without)

    def test_arguments_that_json_cannot_give_are_left_out(self) -> None:
        described = self.described()
        assert described["properties"] == {
            "depth": {"type": "integer"},
            "kind": {"$ref": "#/$defs/Kind", "default": "linear"},
            "x": {},
            "later": {"default": 1},
        }
        assert described["required"] == ["depth"]

    def test_others_can_be_left_out_by_name(self) -> None:
        described = self.described(without={"depth", "kind"})
        assert list(described["properties"]) == ["x", "later"]
        assert "$defs" not in described


class TestCoerce:
    @pytest.mark.parametrize(
        ("annotation", "given", "value"),
        [
            (int, "5", 5),
            (int | None, "7", 7),
            (float, 1, 1.0),
            (bool, "true", True),
            (date, "2026-01-02", date(2026, 1, 2)),
            (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
            (Kind, "forest", Kind.FOREST),
            (Options, {"depth": 2, "split": {"seed": 1}}, Options(depth=2, split=Split(seed=1))),
            (uuid.UUID, "0" * 32, uuid.UUID(int=0)),
            (set[int], [1, 1], {1}),
            (tuple[int, str], [1, "a"], (1, "a")),
            (Path, "data", Path("data")),
        ],
    )
    def test_lax_values_become_what_is_annotated(self, annotation: Any, given: Any, value: Any) -> None:
        found = coerce(taking(annotation), {"x": given})["x"]
        assert found == value
        assert type(found) is type(value)

    def test_what_is_right_already_stays_what_it_is(self) -> None:
        def function(a: Options, b: Frame, c: Any, d: list[Frame], e, f: pd.DataFrame) -> None: ...  # type: ignore[no-untyped-def]

        options, frame = Options(1, Split(seed=1)), Frame()
        given = {"a": options, "b": frame, "c": frame, "d": [frame], "e": frame, "f": frame}
        assert coerce(function, given) == given

    def test_only_what_is_given_is_looked_at(self) -> None:
        assert coerce(several, {"number": "3"}) == {"number": 3}
        assert coerce(several, {}) == {}

    def test_the_implicit_none_is_meant(self) -> None:
        assert coerce(taking(int, None), {"x": None}) == {"x": None}
        with pytest.raises(InvalidInput):
            coerce(taking(int, 3), {"x": None})

    def test_all_mistakes_at_once_with_pointers(self) -> None:
        given = {
            "number": "many",
            "nmae": "x",
            "mode": "slow",
            "options": {"depth": 1, "split": {"share": 2, "sed": 1}},
            "rows": [{"x": 1}, {"x": "y"}],
        }
        with pytest.raises(InvalidInput) as caught:
            coerce(several, given)
        faults = {fault["pointer"]: fault for fault in caught.value.errors}
        assert set(faults) == {
            "/parameters/number",
            "/parameters/nmae",
            "/parameters/mode",
            "/parameters/options/split/share",
            "/parameters/options/split/seed",
            "/parameters/rows/1/x",
        }
        assert faults["/parameters/nmae"]["did_you_mean"] == "name"
        assert faults["/parameters/number"]["message"].startswith("Input should be a valid integer")

    def test_pointers_begin_where_the_caller_says(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            coerce(several, {"number": []}, at=("steps", "train", "parameters"))
        assert caught.value.errors[0]["pointer"] == "/steps/train/parameters/number"

    def test_members_of_a_union_are_no_places(self) -> None:
        def function(x: int | list[int]) -> None: ...

        with pytest.raises(InvalidInput) as caught:
            coerce(function, {"x": [1, "a"]})
        assert {fault["pointer"] for fault in caught.value.errors} == {"/parameters/x", "/parameters/x/1"}

    def test_other_names_pass_where_the_function_takes_them(self) -> None:
        def function(a: int, **more: Any) -> None: ...

        assert coerce(function, {"a": "1", "b": "2"}) == {"a": 1, "b": "2"}

    @given(
        st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.none() | st.booleans() | st.integers() | st.text())
    )
    def test_plain_types_are_converted_like_pydantic_does(self, given: dict[str, Any]) -> None:
        def function(a: int, b: str, c: float | None, d: bool) -> None: ...

        adapters = {
            "a": TypeAdapter(int),
            "b": TypeAdapter(str),
            "c": TypeAdapter(float | None),
            "d": TypeAdapter(bool),
        }
        try:
            expected: Any = {name: adapters[name].validate_python(value) for name, value in given.items()}
        except ValueError:
            with pytest.raises(InvalidInput):
                coerce(function, given)
        else:
            assert coerce(function, given) == expected

    def test_adapters_are_made_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[Any] = []
        adapter = schema._adapter

        def count(annotation: Any) -> Any:
            made.append(annotation)
            return adapter(annotation)

        monkeypatch.setattr(schema, "_adapter", count)

        def function(a: date, b: list[int]) -> None: ...

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: coerce(function, {"a": "2026-01-02", "b": [str(n)]}), range(40)))
        assert [answer["b"] for answer in answers] == [[n] for n in range(40)]
        assert made == [date, list[int]]


class Login(BaseModel):
    user: str
    password: SecretStr


def test_a_default_with_a_secret_inside_is_refused() -> None:
    def function(login: Login = Login(user="u", password=SecretStr("{{db.password}}"))) -> None: ...  # noqa: B008

    with pytest.raises(AuthoringError, match="holds a secret"):
        parameter_schema(function)

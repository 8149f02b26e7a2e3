from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.inputs import collect, described, parse
from penstock.model.snapshot import Content, Snapshot

STRING, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
OPTIONAL = {"anyOf": [STRING, {"type": "null"}]}
ROOT = {"$defs": {"Kind": {"enum": ["a", "b"]}, "Level": {"enum": [1, 2]}, "Loop": {"$ref": "#/$defs/Kind"}}}


class TestParse:
    @pytest.mark.parametrize(
        ("text", "schema", "value"),
        [
            ("5", STRING, "5"),
            ("true", STRING, "true"),
            ("null", STRING, "null"),
            ("[1]", STRING, "[1]"),
            ('"5"', STRING, "5"),
            ('"', STRING, '"'),
            ("", STRING, ""),
            ("a=b", STRING, "a=b"),
            ("5", INTEGER, 5),
            ("1e-3", NUMBER, 0.001),
            ("abc", INTEGER, "abc"),
            ("true", {"type": "boolean"}, True),
            ("True", {"type": "boolean"}, "True"),
            ('{"a": [1]}', {"type": "object"}, {"a": [1]}),
            ("[1, 2]", {"type": "array"}, [1, 2]),
            ("null", OPTIONAL, None),
            ("x", OPTIONAL, "x"),
            ("5", OPTIONAL, "5"),
            ("5", {"type": ["string", "integer"]}, 5),
            ("x5", {"type": ["string", "integer"]}, "x5"),
            ("[5]", {"type": ["string", "integer"]}, "[5]"),
            ("a", {"$ref": "#/$defs/Kind"}, "a"),
            ("1", {"$ref": "#/$defs/Kind"}, "1"),
            ("1", {"$ref": "#/$defs/Level"}, 1),
            ("1", {"$ref": "#/$defs/Loop"}, "1"),
            ("1", {"const": "1"}, "1"),
            ("5", {}, 5),
            ("five", {}, "five"),
            ("NaN", NUMBER, "NaN"),
        ],
    )
    def test_by_what_is_expected(self, text: str, schema: dict[str, Any], value: Any) -> None:
        parsed = parse(text, schema, ROOT)
        assert (parsed, type(parsed)) == (value, type(value))

    @given(st.text())
    def test_a_quoted_string_is_always_what_was_quoted(self, text: str) -> None:
        assert parse(msgspec.json.encode(text).decode(), STRING, {}) == text

    @given(st.text().filter(lambda text: not text.strip().startswith('"')))
    def test_a_string_is_itself(self, text: str) -> None:
        assert parse(text, STRING, {}) == text


class TestCollect:
    @pytest.fixture
    def content(self, snapshot_json: dict[str, Any]) -> Content:
        return msgspec.convert(snapshot_json, Snapshot).content

    def collect(self, content: Content, **options: Any) -> dict[str, Any]:
        return collect(lambda: content, **{"params": [], "step_params": [], "config": None, "run_name": None} | options)

    def test_values_have_the_types_of_the_schema(self, content: Content) -> None:
        given = self.collect(content, params=["lr=1", "name=1", "other=1"], step_params=["fit.depth=3", "fit.x=y"])
        assert given["parameters"] == {"lr": 1, "name": "1", "other": 1}
        assert given["steps"] == {"fit": {"parameters": {"depth": 3, "x": "y"}}}

    def test_single_values_go_before_the_file(self, content: Content, tmp_path: Path) -> None:
        config = tmp_path / "run.yaml"
        config.write_text(
            "parameters: {lr: 1e-3, name: a}\nsteps: {fit: {parameters: {depth: 1, x: 1}}, other: {}}\nrun_name: r\n"
        )
        given = self.collect(content, params=["name=b"], step_params=["fit.depth=2"], config=config)
        assert given == {
            "parameters": {"lr": 0.001, "name": "b"},
            "steps": {"fit": {"parameters": {"depth": 2, "x": 1}}, "other": {}},
            "run_name": "r",
        }

    def test_the_schema_is_not_asked_for_in_vain(self) -> None:
        def content() -> Content:
            raise AssertionError("not needed")

        assert collect(content, params=[], step_params=[], config=None, run_name="x") == {"run_name": "x"}

    def test_a_step_with_a_dot_in_its_id(self, content: Content) -> None:
        assert self.collect(content, step_params=["a.b.c=1"])["steps"] == {"a.b": {"parameters": {"c": 1}}}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"params": ["lr"]}, "expected NAME=VALUE"),
            ({"params": ["=1"]}, "expected NAME=VALUE"),
            ({"params": ["lr=1", "lr=2"]}, "'lr' is given twice"),
            ({"step_params": ["fit=1"]}, "expected STEP.NAME=VALUE"),
            ({"step_params": [".x=1"]}, "expected STEP.NAME=VALUE"),
            ({"step_params": ["fit.x"]}, "expected STEP.NAME=VALUE"),
            ({"step_params": ["fit.x=1", "fit.x=1"]}, "'x' is given twice"),
        ],
    )
    def test_what_cannot_be_meant(self, content: Content, options: dict[str, Any], message: str) -> None:
        with pytest.raises(typer.BadParameter, match=message):
            self.collect(content, **options)


def test_described(snapshot_json: dict[str, Any]) -> None:
    schema = snapshot_json["content"]["parameter_schema"]
    assert described(schema) == ["lr: number = 0.1", "name: string  (needed)"]
    assert described({"properties": {"x": OPTIONAL | {"default": None}}}) == ["x: null or string = null"]

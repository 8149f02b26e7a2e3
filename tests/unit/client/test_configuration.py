from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.client import configuration
from penstock.errors import InvalidInput
from penstock.model.configuration import said


class TestChecked:
    def test_bare_and_wrapped_are_the_same(self) -> None:
        bare = {"parameters": {"lr": 0.1}, "steps": {"train": {"parameters": {"n": 1}}}, "run_name": "x", "tags": ["a"]}
        checked = configuration.checked(bare)
        assert configuration.checked({"run_configuration": bare}) == configuration.checked(checked) == checked
        assert said(checked) == bare

    def test_an_unknown_field_is_named(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            configuration.checked({"parameter": {}, "claim": True})
        first, second = caught.value.errors
        assert (first["pointer"], first["did_you_mean"]) == ("/parameter", "parameters")
        assert second["pointer"] == "/claim"

    @pytest.mark.parametrize(
        ("value", "pointer"),
        [
            (math.nan, "/parameters/x"),
            ([1.0, math.inf], "/parameters/x/1"),
            ({"deep": {"er": object()}}, "/parameters/x/deep/er"),
            ({1: "a"}, "/parameters/x"),
            ({"a/b": object()}, "/parameters/x/a~1b"),
        ],
    )
    def test_a_value_that_json_cannot_carry_is_named(self, value: Any, pointer: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            configuration.checked({"parameters": {"x": value}})
        assert [error["pointer"] for error in caught.value.errors] == [pointer]

    def test_times_and_tuples_can_be_sent(self) -> None:
        given = {"parameters": {"day": dt.date(2024, 1, 1), "shape": (1, 2)}}
        assert said(configuration.checked(given)) == given

    @pytest.mark.parametrize("wrong", [{"run_configuration": [1]}, {"run_configuration": "x"}])
    def test_something_else_than_a_mapping(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match="is a mapping"):
            configuration.checked(wrong)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_every_json_value_passes(self, value: Any) -> None:
        assert configuration.checked({"parameters": {"x": value}}).parameters == {"x": value}


class TestRead:
    def write(self, tmp_path: Path, text: str, name: str = "config.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-3", 0.001),
            ("1.5e3", 1500.0),
            (".5", 0.5),
            ("3.", 3.0),
            ("42", 42),
            ("-7", -7),
            ("0", 0),
            ("0o17", 15),
            ("0x1F", 31),
            ("true", True),
            ("False", False),
            ("~", None),
            ("", None),
            ("null", None),
            ("on", "on"),
            ("no", "no"),
            ("2024-01-01", "2024-01-01"),
            ("12:30", "12:30"),
            ("010", "010"),
            ("1_000", "1_000"),
            ("e5", "e5"),
            ("'1'", "1"),
            ("[1, a]", [1, "a"]),
            ("s3://bucket/key", "s3://bucket/key"),
        ],
    )
    def test_yaml_values_are_those_of_yaml_1_2(self, tmp_path: Path, text: str, value: Any) -> None:
        read = configuration.read(self.write(tmp_path, f"parameters:\n  x: {text}\n"))["parameters"]["x"]
        assert (read, type(read)) == (value, type(value))

    def test_json(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, '{"parameters": {"x": 1}}', "config.json")
        assert configuration.read(str(path)) == {"parameters": {"x": 1}}

    def test_an_empty_file_gives_nothing(self, tmp_path: Path) -> None:
        assert configuration.read(self.write(tmp_path, "# nothing yet\n")) == {}

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("c.yaml", "parameters: [1\n", "line 2"),
            ("c.json", '{"a": }', "line 1 column 7"),
            ("c.yaml", "- 1\n", "expected a mapping"),
            ("c.yaml", "parameters:\n  x: 1\n  x: 2\n", "'x' stands twice"),
            ("c.json", '{"a": 1, "a": 2}', "'a' stands twice"),
            ("c.yaml", "a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
            ("c.yaml", "? [1, 2]\n: x\n", "not valid YAML"),
        ],
    )
    def test_a_wrong_file_says_where(self, tmp_path: Path, name: str, text: str, message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            configuration.read(self.write(tmp_path, text, name))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"nowhere\.yaml"):
            configuration.read(tmp_path / "nowhere.yaml")

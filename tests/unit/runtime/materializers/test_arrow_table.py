from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import ArtifactError
from penstock.runtime.materializers import summary
from penstock.runtime.materializers.preview import LIMIT

MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 15)
COLUMNS: list[tuple[Any, list[Any]]] = [
    (pa.int8(), [1, None, -128]),
    (pa.uint64(), [2**64 - 1, None, 0]),
    (pa.float16(), [np.float16(1.5), None, np.float16(0)]),
    (pa.float64(), [0.1, None, -0.0]),
    (pa.bool_(), [True, None, False]),
    (pa.string(), ["ä", None, ""]),
    (pa.large_string(), ["ä", None, ""]),
    (pa.string_view(), ["ä", None, ""]),
    (pa.binary(), [b"\0", None, b""]),
    (pa.binary(2), [b"ab", None, b"cd"]),
    (pa.decimal128(10, 3), [Decimal("1.250"), None, Decimal(0)]),
    (pa.decimal256(60, 3), [Decimal("1.250"), None, Decimal(0)]),
    (pa.date32(), [MOMENT.date(), None, MOMENT.date()]),
    (pa.date64(), [MOMENT.date(), None, MOMENT.date()]),
    (pa.time32("s"), [MOMENT.time(), None, MOMENT.time()]),
    (pa.time64("us"), [MOMENT.time(), None, MOMENT.time()]),
    (pa.timestamp("s"), [MOMENT, None, MOMENT]),
    (pa.timestamp("ns", "Europe/Berlin"), [MOMENT, None, MOMENT]),
    (pa.duration("s"), [datetime.timedelta(1), None, datetime.timedelta()]),
    (pa.month_day_nano_interval(), [(1, 2, 3), None, (0, 0, 0)]),
    (pa.null(), [None, None, None]),
    (pa.list_(pa.int8()), [[1, None], None, []]),
    (pa.list_(pa.field("thing", pa.int8(), nullable=False)), [[1], None, []]),
    (pa.list_(pa.int8(), 2), [[1, 2], None, [None, 4]]),
    (pa.list_view(pa.int8()), [[1, 2], None, []]),
    (pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))]), [{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}]),
    (pa.struct([]), [{}, None, {}]),
    (pa.map_(pa.string(), pa.int8()), [[("a", 1)], None, []]),
    (pa.uuid(), [b"0" * 16, None, b"1" * 16]),
]


@pytest.mark.parametrize(
    ("kind", "values"), COLUMNS, ids=lambda value: str(value) if isinstance(value, pa.DataType) else ""
)
@pytest.mark.parametrize("make", [pa.table, pa.record_batch])
def test_every_type_comes_back(there_and_back: Callable[[Any, str], Any], kind: Any, values: Any, make: Any) -> None:
    value = make([pa.array(values, kind)], names=["x"])
    back = there_and_back(value, "arrow")
    assert type(back) is type(value)
    assert back.equals(value, check_metadata=True)


@pytest.mark.parametrize(
    "value",
    [
        pa.table({}),
        pa.table({"a": pa.array([], pa.int8())}),
        pa.table([[1], [2]], names=["a", "a"]),
        pa.table({"": [1]}),
        pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
        pa.table([[1]], schema=pa.schema([pa.field("a", pa.int64(), nullable=False, metadata={"unit": "m"})])),
        pa.table({"a": pa.chunked_array([[1], [2, 3]])}),
        pa.table({"a": pa.array(["x", None, "y"]).dictionary_encode()}),
        pa.table({"a": pa.DictionaryArray.from_arrays([1, 1], ["never used", "x"], ordered=True)}),
        pa.table({"a": pa.chunked_array([pa.array([word]).dictionary_encode() for word in "xy"])}),
        pa.table({"a": pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])}),
        pa.table({"a": pa.RunEndEncodedArray.from_arrays([2, 3], [1, None])}),
        pa.record_batch({}),
        pa.record_batch({"a": pa.array([], pa.int8())}),
        pa.record_batch({"a": [1, 2, 3]}).slice(1),
    ],
    ids=range(15),
)
def test_odd_tables_come_back(there_and_back: Callable[[Any, str], Any], value: Any) -> None:
    back = there_and_back(value, "arrow")
    assert type(back) is type(value)
    assert back.equals(value, check_metadata=True)
    assert back.num_rows == value.num_rows


KINDS = st.recursive(
    st.sampled_from([pa.int32(), pa.float32(), pa.string(), pa.bool_()]),
    lambda inner: inner.map(pa.list_) | inner.map(lambda kind: pa.struct([("f", kind)])),
    max_leaves=3,
)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    if pa.types.is_list(kind):
        return st.none() | st.lists(values_of(kind.value_type), max_size=3)
    if pa.types.is_struct(kind):
        return st.none() | st.fixed_dictionaries({"f": values_of(kind.field(0).type)})
    plain: dict[Any, st.SearchStrategy[Any]] = {
        pa.int32(): st.integers(-(2**31), 2**31 - 1),
        pa.float32(): st.floats(width=32, allow_nan=False),
        pa.string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        pa.bool_(): st.booleans(),
    }
    return st.none() | plain[kind]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nested_columns_come_back(there_and_back: Callable[[Any, str], Any], data: st.DataObject) -> None:
    kind = data.draw(KINDS)
    value = pa.table({"x": pa.array(data.draw(st.lists(values_of(kind), max_size=5)), kind)})
    assert there_and_back(value, "arrow").equals(value, check_metadata=True)


def test_a_plain_table_is_a_parquet_file(shelf: Any) -> None:
    artifact = shelf.save(pa.table({"a": [1, 2]}))
    assert [file.name for file in artifact.files] == ["table.parquet"]
    assert shelf.store.get(artifact.digest).startswith(b"PAR1")
    assert shelf.save(pa.table({"a": [1, 2]})).digest == artifact.digest


def test_a_big_table_comes_back(there_and_back: Callable[[Any, str], Any]) -> None:
    value = pa.table({"a": np.random.default_rng(0).normal(size=400_000)})
    assert there_and_back(value, "arrow").equals(value)


class Celsius(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.float64(), "tests.celsius")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Celsius:
        return cls()


WARM = pa.ExtensionArray.from_storage(Celsius(), pa.array([20.5]))


@pytest.mark.parametrize(
    "value",
    [
        pa.table({"a": WARM}),
        pa.record_batch({"a": WARM}),
        pa.table({"a": pa.StructArray.from_arrays([WARM], names=["inside"])}),
        pa.table([[1]], schema=pa.schema([pa.field("a", pa.int64(), metadata={"ARROW:extension:name": "lost"})])),
    ],
)
def test_extension_types_of_others_are_pickled_and_say_so(shelf: Any, value: Any) -> None:
    artifact = shelf.save(value)
    assert (artifact.materializer, artifact.code_bearing) == ("pickle", True)
    with pytest.raises(ArtifactError, match="PENSTOCK_ALLOW_PICKLE"):
        shelf.load(artifact)


def test_a_damaged_file_is_an_error(shelf: Any) -> None:
    artifact = shelf.save(pa.table({"a": [1]}))
    digest, size = shelf.store.put(b"PAR1 and no more")
    file = dataclasses.replace(artifact.files[0], digest=digest, size=size)
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        shelf.load(dataclasses.replace(artifact, files=(file,), digest=digest))


def test_the_facts(shelf: Any) -> None:
    value = pa.table({"n": [1, 2, None, 11], "x": [0.5, float("nan"), 1.5, None], "t": ["a", "b" * 500, None, "d"]})
    facts = shelf.save(value).metadata
    assert (facts["rows"], facts["column_count"], facts["bytes"]) == (4, 3, value.nbytes)
    number, real, text = facts["columns"]
    assert number == {
        "name": "n",
        "dtype": "int64",
        "count": 3,
        "nulls": 1,
        "min": 1,
        "max": 11,
        "mean": 14 / 3,
        "histogram": [1, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    }
    assert (real["count"], real["not_finite"], real["min"], real["max"], real["mean"]) == (3, 1, 0.5, 1.5, 1.0)
    assert text == {"name": "t", "dtype": "string", "count": 3, "nulls": 1}
    assert facts["head"][0] == [1, 0.5, "a"]
    assert len(facts["head"][1][2]) == 61


@pytest.mark.parametrize(
    ("kind", "values"), COLUMNS, ids=lambda value: str(value) if isinstance(value, pa.DataType) else ""
)
def test_every_type_has_facts(shelf: Any, kind: Any, values: Any) -> None:
    facts = shelf.save(pa.table([pa.array(values, kind)], names=["x"])).metadata
    (column,) = facts["columns"]
    assert column["count"] + column["nulls"] == 3
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    assert ("mean" in column) == ("histogram" in column) == numeric
    assert len(facts["head"]) == 3


def test_the_facts_of_a_wide_table_are_bounded(shelf: Any) -> None:
    wide = pa.table({f"{'long' * 50}{number}": np.arange(50.0) + number for number in range(2000)})
    facts = shelf.save(wide).metadata
    assert len(json.dumps(facts)) <= LIMIT
    assert "omitted" not in facts
    assert facts["columns"]
    assert facts["head"]


def test_a_histogram_of_many_values_is_of_some(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_SAMPLE", 100)
    (column,) = shelf.save(pa.table({"x": np.arange(1000)})).metadata["columns"]
    assert column["histogram"] == [10] * 10
    assert column["histogram_of_every"] == 10

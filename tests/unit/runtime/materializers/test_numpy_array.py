from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.errors import ArtifactError
from penstock.ids import digest_of
from penstock.model.artifact import File

ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(10)[::2],
    np.array(5.0),
    np.array([]),
    np.zeros((0, 3), dtype="int8"),
    np.array([1, 2], dtype=">i4"),
    np.array([1 + 2j, np.nan]),
    np.array(["2024-01-01", "NaT"], dtype="M8[D]"),
    np.array([1, 2], dtype="m8[ns]"),
    np.array(["a", "längst"]),
    np.array([b"ab\0c"]),
    np.array([True, False]),
    np.array([(1, 2.5, "x")], dtype=[("a", "i4"), ("b", "f8"), ("c", "U3")]),
    np.array([1.0], dtype="float16"),
    np.array([1.0], dtype=np.longdouble),
]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype} {value.shape}")
def test_arrays_come_back(there_and_back: Callable[[Any, str], Any], value: Any) -> None:
    back = there_and_back(value, "numpy")
    assert back.dtype == value.dtype
    assert back.shape == value.shape
    np.testing.assert_array_equal(back, value)
    assert type(back) is np.ndarray
    assert back.flags.writeable


def test_a_big_array_is_streamed(there_and_back: Callable[[Any, str], Any]) -> None:
    value = np.random.default_rng(0).normal(size=(400, 500))
    np.testing.assert_array_equal(there_and_back(value, "numpy"), value)
    np.testing.assert_array_equal(there_and_back(value.T, "numpy"), value.T)


def test_a_memory_map_is_kept_as_an_array(there_and_back: Callable[[Any, str], Any], tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "map", dtype="int32", mode="w+", shape=(3,))
    mapped[:] = [1, 2, 3]
    assert there_and_back(mapped, "numpy").tolist() == [1, 2, 3]


@pytest.mark.parametrize("value", [np.datetime64("2024-01-01"), np.timedelta64(1, "s"), np.str_("a"), np.complex64(1j)])
def test_scalars_come_back(there_and_back: Callable[[Any, str], Any], value: Any) -> None:
    back = there_and_back(value, "numpy")
    assert type(back) is type(value)
    assert back == value


def test_records_of_many_fields_come_back(there_and_back: Callable[[Any, str], Any]) -> None:
    value = np.zeros(2, dtype=[(f"a_field_with_a_long_name_{number}", "f8") for number in range(1000)])
    assert there_and_back(value, "numpy").dtype == value.dtype


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.array([object()]),
        lambda: np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]),
        lambda: np.ma.masked_array([1, 2], mask=[True, False]),
        lambda: np.array([1, 2]).view(np.recarray),
        lambda: np.zeros(1, dtype=np.dtype("f8", metadata={"unit": "m"})),
        lambda: np.array(["a"], dtype=np.dtypes.StringDType()),
    ],
)
def test_what_npy_cannot_hold_is_pickled_and_says_so(shelf: Any, make: Callable[[], Any]) -> None:
    artifact = shelf.save(make())
    assert (artifact.materializer, artifact.code_bearing) == ("pickle", True)


class Canary:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("the pickle in an .npy file was loaded",))


def test_a_pickle_in_the_place_of_an_array_is_refused(shelf: Any) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Canary()]), allow_pickle=True)
    data = buffer.getvalue()
    shelf.store.put(data)
    file = File(name="array.npy", digest=digest_of(data), size=len(data))
    artifact = dataclasses.replace(shelf.save(np.arange(3)), files=(file,), digest=file.digest)
    with pytest.raises(ArtifactError, match="allow_pickle"):
        shelf.load(artifact, allow_code=True)


def test_the_facts(shelf: Any) -> None:
    facts = shelf.save(np.array([[1.5, np.nan], [3, 4]])).metadata
    assert facts == {"shape": [2, 2], "dtype": "float64", "bytes": 32, "preview": [1.5, "nan", 3.0, 4.0]} | {
        "not_finite": 1,
        "min": 1.5,
        "max": 4.0,
        "mean": 8.5 / 3,
        "histogram": [1, 0, 0, 0, 0, 0, 1, 0, 0, 1],
    }
    assert len(shelf.save(np.zeros(1000)).metadata["preview"]) == 10
    assert shelf.save(np.array([b"\0"])).metadata["dtype"] == "|S1"

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import json
import math
import subprocess
import sys
import threading
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Generic, NamedTuple, TypeVar

import dateutil.tz
import hypothesis
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import strategies

from penstock.runtime.materializers import inline
from penstock.runtime.materializers.base import Unfit
from penstock.runtime.materializers.structured import as_json, decoded, encoded, is_json

ThereAndBack = Callable[[Any, str], Any]


def refuse(value: Any) -> Any:
    raise Unfit


# Values

json_values = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False)
    | strategies.text(strategies.characters()),  # lone surrogates too
    lambda inner: (
        strategies.lists(inner) | strategies.dictionaries(strategies.text() | strategies.just("$type"), inner)
    ),
    max_leaves=20,
)

scalars = (
    json_values
    | strategies.binary()
    | strategies.dates()
    | strategies.times()
    | strategies.datetimes(timezones=strategies.none() | strategies.timezones())
    | strategies.timedeltas()
    | strategies.decimals(allow_nan=False)
    | strategies.fractions()
    | strategies.uuids()
    | strategies.complex_numbers(allow_nan=False)
)
hashables = strategies.integers() | strategies.text() | strategies.tuples(strategies.dates(), strategies.booleans())
anything = strategies.recursive(
    scalars,
    lambda inner: (
        strategies.lists(inner).map(tuple)
        | strategies.dictionaries(hashables, inner)
        | strategies.sets(hashables)
        | strategies.frozensets(hashables)
        | strategies.lists(inner).map(collections.deque)
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal and of the same classes, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple | collections.deque):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@hypothesis.given(json_values)
def test_json_comes_back_exactly(value: Any) -> None:
    assert same(decoded(encoded(value, refuse), refuse), value)


@hypothesis.given(anything)
def test_the_standard_types_come_back_exactly(value: Any) -> None:
    assert same(decoded(encoded(value, refuse), refuse), value)


@hypothesis.given(strategies.sets(hashables))
def test_equal_sets_have_equal_bytes(value: set[Any]) -> None:
    other: set[Any] = set()
    for item in sorted(value, key=repr, reverse=True):
        other.add(item)
    assert encoded(value, refuse) == encoded(other, refuse)


@hypothesis.given(json_values.filter(is_json))
def test_plain_json_is_written_as_such(value: Any) -> None:
    hypothesis.assume("$type" not in str(value))
    hypothesis.assume(not any(0xD800 <= ord(character) < 0xE000 for character in str(value)))
    text = encoded(value, refuse)
    if b'"$type"' not in text:  # integers over 64 bits
        assert same(json.loads(text), value)


class Color(enum.Enum):
    RED = "red"


class Tone(enum.StrEnum):
    LOW = "low"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float = 0.5


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float
    layers: tuple[int, ...] = ()
    inner: Config | None = None
    made: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "made", self.made + 1)  # what runs twice is seen


@dataclasses.dataclass(slots=True)
class Slotted:
    name: str


T = TypeVar("T")


@dataclasses.dataclass
class Box(Generic[T]):
    content: T

    @functools.cached_property
    def doubled(self) -> list[T]:
        return [self.content, self.content]


class Base(pydantic.BaseModel):
    name: str


class Model(Base):
    model_config = pydantic.ConfigDict(extra="allow")
    when: datetime.datetime = pydantic.Field(alias="When")
    tags: set[str] = set()
    base: Base | None = None
    score: float = math.inf
    hidden: bytes = pydantic.Field(b"x", exclude=True)
    _secret: tuple[int, ...] = (1, 2)

    @pydantic.field_validator("name", mode="after")
    @classmethod
    def _shout(cls, name: str) -> str:
        return name + "!"


class Numbers(pydantic.RootModel[list[int]]):
    pass


INSTANCES = [
    Color.RED,
    Tone.LOW,
    Right.READ | Right.WRITE,
    Point(1),
    Config(0.1, (1, 2), Config(0.2)),
    Slotted("a"),
    Box({"a": (1, 2)}),
    Numbers([1, 2]),
    [Point(1), {Color.RED: Config(1.0)}],
    range(1, 10, 3),
    bytearray(b"ab"),
    collections.OrderedDict(b=1, a=2),
    collections.Counter("abca"),
    collections.defaultdict(list, {"a": [1]}),
    collections.deque([1, 2], maxlen=2),
    Path("/some/where"),
    PurePosixPath("some/where"),
    datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    datetime.time(1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=3))),
    decimal.Decimal("1.50"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=7),
    2**70,
    -(2**63) - 1,
    "\ud800 alone",
    {"$type": "mine", "\udfff": 1},
    {1: "a", (2, 3): "b", None: "c"},
]


@pytest.mark.parametrize("value", [value for value in INSTANCES if not isinstance(value, Path | str)], ids=repr)
def test_instances_come_back_equal_and_of_their_class(there_and_back: ThereAndBack, value: Any) -> None:
    assert same(there_and_back(value, "structured"), value)


@pytest.mark.parametrize("value", INSTANCES, ids=repr)
def test_and_inside_of_something_else(there_and_back: ThereAndBack, value: Any) -> None:
    assert same(there_and_back({"in": [value]}, "structured"), {"in": [value]})


def test_a_string_that_is_no_unicode_is_kept_too(there_and_back: ThereAndBack) -> None:
    assert there_and_back("\ud800", "structured") == "\ud800"


@pytest.mark.parametrize(
    "value", [math.nan, -math.inf, [1.0, math.nan], {"a": math.inf}, complex(math.nan, 1)], ids=repr
)
def test_what_json_has_no_numbers_for_comes_back(there_and_back: ThereAndBack, value: Any) -> None:
    assert repr(there_and_back(value, "structured")) == repr(value)


def test_negative_zero_stays_negative(there_and_back: ThereAndBack) -> None:
    assert math.copysign(1, there_and_back(-0.0, "structured")) == -1


def test_no_constructor_and_no_validator_runs_again(there_and_back: ThereAndBack) -> None:
    assert there_and_back(Config(1.0), "structured").made == 1
    model = Model(name="a", When="2024-01-01T00:00:00Z")
    assert there_and_back(model, "structured").name == "a!"


def test_a_model_comes_back_whole(there_and_back: ThereAndBack) -> None:
    sub = Model(name="sub", When=datetime.datetime(2024, 1, 1))
    model = Model(name="a", When="2024-01-01T00:00:00Z", tags={"x", "y"}, base=sub, hidden=b"\xff", extra=(1,))
    model._secret = (7,)
    back = there_and_back(model, "structured")
    assert back == model
    assert type(back.base) is Model
    assert back.hidden == b"\xff"
    assert back.model_extra == {"extra": (1,)}
    assert back._secret == (7,)
    assert back.model_fields_set == model.model_fields_set


def test_what_a_class_works_out_again_is_not_kept(there_and_back: ThereAndBack) -> None:
    box = Box(1)
    assert box.doubled == [1, 1]
    assert "doubled" not in vars(there_and_back(box, "structured"))


def test_arrays_and_frames_inside_are_files_of_their_own(shelf: Any) -> None:
    value = {
        "weights": [np.arange(3), np.eye(2, dtype="float32")],
        "box": Box(pd.DataFrame({"a": [1]})),
        "n": np.float64(0.5),
    }
    artifact = shelf.save(value)
    assert (artifact.materializer, artifact.code_bearing) == ("structured", False)
    assert sorted(file.name for file in artifact.files) == [
        "parts/0/array.npy",
        "parts/1/array.npy",
        "parts/2/frame.parquet",
        "value.json",
    ]
    back = shelf.load(artifact)
    np.testing.assert_array_equal(back["weights"][0], np.arange(3))
    assert back["weights"][1].dtype == np.float32
    pd.testing.assert_frame_equal(back["box"].content, value["box"].content)
    assert type(back["n"]) is np.float64


# numpy's numbers


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.1),
        np.float32(0.1),
        np.float16(2),
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.bool_(True),
        np.float64("-inf"),
    ],
    ids=repr,
)
def test_numbers_of_numpy_come_back(there_and_back: ThereAndBack, value: Any) -> None:
    assert same(there_and_back(value, "structured"), value)
    assert same(there_and_back([value], "structured"), [value])


def test_nan_of_numpy_comes_back(there_and_back: ThereAndBack) -> None:
    back = there_and_back(np.float32("nan"), "structured")
    assert type(back) is np.float32
    assert math.isnan(back)


# What is left to pickle


class Text(str):
    __slots__ = ()


class Rows(list[int]):
    pass


class Loose:
    pass


class Named(tuple[int, ...]):
    pass


@dataclasses.dataclass
class Listed(list[int]):
    name: str = "x"


def local_class() -> Any:
    @dataclasses.dataclass
    class Local:
        x: int

    return Local(1)


def point_with_more() -> Any:
    class Wider(Point):
        pass

    return Wider(1)


def without_a_field() -> Any:
    value = Slotted("a")
    del value.name
    return value


def endless() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: Text("a"),
        lambda: Rows([1]),
        lambda: Named((1,)),
        lambda: Listed("y"),
        lambda: [Loose()],
        lambda: {"a": np.array([object()])},
        lambda: collections.defaultdict(Loose),
        lambda: Model.model_construct(name="only this"),
        local_class,
        point_with_more,
        without_a_field,
        endless,
        lambda: datetime.datetime(2024, 1, 1, tzinfo=dateutil.tz.gettz("Europe/Berlin")),
    ],
)
def test_what_would_be_kept_with_a_loss_is_pickled_and_says_so(shelf: Any, make: Callable[[], Any]) -> None:
    artifact = shelf.save(make())
    assert (artifact.materializer, artifact.code_bearing) == ("pickle", True)


# JSON for records


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": (1, np.float64(0.5))}, {"a": [1, 0.5]}),
        ([None], [None]),
        ("text", "text"),
        (np.int64(3), 3),
        (None, None),
    ],
)
def test_what_is_json_stands_in_a_record(shelf: Any, value: Any, shown: Any) -> None:
    found = inline(shelf.save(value), shelf.store)
    assert found is not None
    assert found.value == shown
    json.dumps(found.value)


@pytest.mark.parametrize(
    "value", [{1, 2}, math.nan, [np.float64("nan")], b"bytes", np.arange(3), "x" * 100_000, Point(1)]
)
def test_what_is_not_json_does_not(shelf: Any, value: Any) -> None:
    assert inline(shelf.save(value), shelf.store) is None


def test_only_what_is_tagged_is_no_json() -> None:
    assert as_json(b'{"a":"\\"$type\\""}') == {"a": '"$type"'}
    with pytest.raises(Unfit):
        as_json(b'[{"$type":"set","value":[]}]')


# Facts


def test_the_preview_is_the_beginning_of_the_text(shelf: Any) -> None:
    artifact = shelf.save(["x" * 100] * 100)
    assert artifact.metadata["length"] == 100
    assert artifact.metadata["preview"].startswith('["xxx')
    assert artifact.metadata["preview"].endswith("…")


def test_plain_values_need_no_pydantic(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from penstock.runtime.materializers import load, save\n"
        "from penstock.stack.flavors.file_store import FileStore\n"
        f"store = FileStore({str(tmp_path)!r})\n"
        "for value in ({'a': [1, 2.5, None]}, (1, {2}), 'text', b'bytes'):\n"
        "    artifact = save(value, store, id='i', run_id=None, step=None, output=None)\n"
        "    assert load(artifact, store, allow_code=False) == value\n"
        "heavy = {'pydantic', 'numpy', 'pandas', 'sklearn', 'cloudpickle', 'importlib.metadata'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


def test_several_threads_may_save_at_once(shelf: Any) -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for at in range(50):
                assert shelf.load(shelf.save({"a": (number, at)})) == {"a": (number, at)}
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []

"""What every materializer must keep. A new one joins with one line in `CASES`: a test misses the line."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.linear_model import LinearRegression

from penstock import HTML, Markdown
from penstock.errors import ArtifactError, PenstockError
from penstock.ids import digest_of, new_id
from penstock.model.artifact import Artifact, File, artifact_digest
from penstock.runtime.materializers import load, registry, save
from penstock.runtime.materializers.preview import LIMIT
from penstock.stack.flavors.file_store import FileStore

BIG = 3_000_000
"""Bytes that a huge value takes at least: more than is ever read in one piece."""


class Plain:
    """Nothing but pickle can keep this."""

    def __init__(self, value: Any) -> None:
        self.value = value


def same(one: Any, other: Any) -> bool:
    return bool(type(one) is type(other) and one == other)


def same_arrays(one: Any, other: Any) -> bool:
    return bool(one.dtype == other.dtype and np.array_equal(one, other))


def same_frames(one: Any, other: Any) -> bool:
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    return True


def same_picture(back: Any, figure: Any) -> bool:
    width, height = figure.get_size_inches() * figure.dpi
    return bool(back.size == (round(width), round(height)))


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return {one.name: one.read_bytes() for one in files}


@dataclass(frozen=True)
class Case:
    """Values of one materializer: made in a folder, and whether what came back is the same."""

    name: str
    ordinary: Callable[[Path], Any]
    empty: Callable[[Path], Any] | None
    huge: Callable[[Path], Any]
    alike: Callable[[Any, Any], bool] = same
    code_bearing: bool = False


def of(value: Any) -> Callable[[Path], Any]:
    return lambda _: value


def written(data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "data.bin").write_bytes(data)
        return folder / "data.bin"

    return write


def figure(points: int) -> Callable[[Path], Any]:
    def draw(_: Path) -> Any:
        from matplotlib.figure import Figure  # takes a second, and one case needs it

        drawn = Figure(figsize=(4, 3), dpi=3 * points if points > 100 else 100)
        drawn.subplots().plot(range(points))
        return drawn

    return draw


def plotted(points: int) -> Callable[[Path], Any]:
    def draw(_: Path) -> Any:
        import plotly.graph_objects as go  # see above

        return go.Figure(go.Scatter(y=list(range(points)))) if points else go.Figure()

    return draw


def yielded(items: list[Any]) -> Callable[[Path], Any]:
    def give(_: Path) -> Iterator[Any]:
        yield from items

    return give


def fitted(size: int) -> Any:
    return LinearRegression().fit(np.eye(size), np.arange(size))


def tensors() -> list[Case]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    def alike(one: Any, other: Any) -> bool:
        return bool(one.dtype == other.dtype and torch.equal(one, other))

    def both(one: Any, other: Any) -> bool:
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)

    return [
        Case("torch", of(torch.arange(3)), of(torch.zeros(0)), of(torch.rand(BIG)), alike),
        Case("torch-state", of({"w": torch.ones(2)}), None, of({"w": torch.rand(BIG)}), both),
    ]


noise = np.random.default_rng(7)
CASES = [
    Case("text", of("é"), of(""), of("x" * BIG)),
    Case("binary", of(b"\0x"), of(b""), of(noise.bytes(BIG))),
    Case("path", written(b"some"), written(b""), written(noise.bytes(BIG)), lambda a, b: content(a) == content(b)),
    Case("structured", of({"a": [1, (2.5, None)], "b": {3}}), of({}), of([*range(10**6)])),
    Case("numpy", of(np.array([1.5, np.nan])[:1]), of(np.zeros((0, 3))), of(noise.random(BIG)), same_arrays),
    Case(
        "pandas",
        of(pd.DataFrame({"a": [1, 2], "b": ["x", None]})),
        of(pd.DataFrame()),
        of(pd.DataFrame({"a": noise.random(BIG)})),
        same_frames,
    ),
    Case(
        "pandas",
        of(pd.DataFrame({"a": pd.Categorical(["x", "y"])})),
        of(pd.DataFrame({"a": []}, dtype="category")),
        of(pd.DataFrame({1: noise.random(BIG)})),
        same_frames,
    ),
    Case(
        "sklearn",
        of(fitted(3)),
        None,
        of(fitted(1000)),
        lambda a, b: same_arrays(a.coef_, b.coef_),
        code_bearing=True,
    ),
    Case(
        "arrow",
        of(pa.table({"a": [1, None]})),
        of(pa.table({})),
        of(pa.table({"a": noise.random(BIG)})),
        lambda a, b: bool(a.equals(b)),
    ),
    Case(
        "polars",
        of(pl.DataFrame({"a": [1, None]})),
        of(pl.DataFrame()),
        of(pl.DataFrame({"a": noise.random(BIG)})),
        lambda a, b: bool(a.equals(b)),
    ),
    Case(
        "pil",
        of(Image.new("RGB", (5, 3), "red")),
        of(Image.new("L", (0, 0))),
        of(Image.frombytes("RGB", (1200, 1000), noise.bytes(3_600_000))),
    ),
    Case("matplotlib", figure(3), None, figure(500), same_picture),
    Case("plotly", plotted(3), plotted(0), plotted(400_000)),
    Case("markup", of(HTML("<b>é</b>")), of(Markdown("")), of(Markdown("x" * BIG))),
    *tensors(),
    Case("stream", yielded([1, "a", None]), yielded([]), yielded(["x" * 1000] * 3000), lambda a, b: [*a] == [*b]),
    Case(
        "pickle",
        of(Plain(1)),
        of(Plain(None)),
        of(Plain("x" * BIG)),
        lambda a, b: a.value == b.value,
        code_bearing=True,
    ),
]


@pytest.fixture(params=CASES, ids=[f"{case.name}-{at}" for at, case in enumerate(CASES)])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "desk").mkdir()
    return tmp_path / "desk"


def saved(value: Any, store: FileStore) -> Artifact:
    return save(value, store, id=new_id(), run_id=None, step="make", output="thing")


def loaded(case: Case, artifact: Artifact, store: FileStore) -> Any:
    """The value, all of it: a stream is read to its end."""
    value = load(artifact, store, allow_code=case.code_bearing)
    return list(value) if case.name == "stream" else value


def blob(store: FileStore, tmp_path: Path, digest: str) -> Path:
    [found] = [
        one
        for one in (tmp_path / "store").rglob("*")
        if one.is_file() and one.name in digest and one.parent.name in digest
    ]
    return found


def test_every_materializer_has_a_case() -> None:
    known = {one.name for one in (*registry._BUILT_IN, registry._FALLBACK)}
    untested = set() if importlib.util.find_spec("torch") else {one for one in known if one.startswith("torch")}
    assert {case.name for case in CASES} == known - untested


@pytest.mark.parametrize("size", ["ordinary", "empty", "huge"])
def test_a_value_comes_back_as_it_was(case: Case, size: str, store: FileStore, desk: Path) -> None:
    make = getattr(case, size)
    if make is None:
        pytest.skip("there is no such value")
    artifact = saved(make(desk), store)
    assert (artifact.materializer, artifact.code_bearing) == (case.name, case.code_bearing)
    assert case.alike(loaded(case, artifact, store), make(desk))


def test_the_record_says_what_is_there(case: Case, store: FileStore, desk: Path) -> None:
    artifact = saved(case.huge(desk), store)
    assert artifact.size == sum(file.size for file in artifact.files)
    assert artifact.digest == artifact_digest(artifact.files)
    assert all(store.facts(file.digest)[0] == file.size for file in artifact.files)
    assert len(json.dumps(artifact.metadata)) < 2 * LIMIT
    assert artifact.type.rpartition(".")[2] == type(case.huge(desk)).__qualname__


def test_the_same_value_has_the_same_digest(case: Case, store: FileStore, desk: Path) -> None:
    assert saved(case.ordinary(desk), store).digest == saved(case.ordinary(desk), store).digest


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_damage_of_any_file_is_told_and_nothing_wrong_is_given(
    case: Case, harm: str, store: FileStore, desk: Path, tmp_path: Path
) -> None:
    for size in ("ordinary", "huge"):
        artifact = saved(getattr(case, size)(desk), store)
        for file in {one.digest: one for one in artifact.files if one.size}.values():
            place = blob(store, tmp_path, file.digest)
            whole = place.read_bytes()
            place.unlink()
            if harm != "gone":
                half = len(whole) // 2
                changed = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
                place.write_bytes(changed if harm == "flipped" else whole[:-1])
            if not only_to_look_at(case, file):
                with pytest.raises(PenstockError) as raised:
                    loaded(case, artifact, store)
                assert file.digest in str(raised.value) or artifact.id in str(raised.value)
            place.write_bytes(whole)
        loaded(case, artifact, store)


def only_to_look_at(case: Case, file: File) -> bool:
    """Whether a file is for people, and loading reads it not."""
    return file.name.startswith("preview.") or (case.name == "matplotlib" and file.name.endswith(".svg"))


@pytest.mark.parametrize("garbage", [b"", b"\x80\x04.", b"{}", b"[1, 2", b"PAR1PAR1", b"\x93NUMPY", b"\0" * 64])
def test_what_is_no_value_is_an_artifact_error_that_names_the_artifact(
    case: Case, garbage: bytes, store: FileStore, desk: Path
) -> None:
    artifact = saved(case.ordinary(desk), store)
    store.put(garbage)
    for bad in artifact.files:
        files = tuple(
            File(name=one.name, digest=digest_of(garbage), size=len(garbage)) if one is bad else one
            for one in artifact.files
        )
        try:
            loaded(case, replace(artifact, files=files, digest=artifact_digest(files)), store)
        except ArtifactError as error:
            assert artifact.id in str(error) or (case.name, str(error)[:5]) == ("stream", "Item ")  # noqa: PT017  (it may also be a value, of a form that takes it)


def test_files_of_another_kind_are_an_artifact_error_or_a_value(case: Case, store: FileStore, desk: Path) -> None:
    artifact = saved(case.ordinary(desk), store)
    for other in registry._BUILT_IN:
        try:
            load(replace(artifact, materializer=other.name, code_bearing=False), store, allow_code=False)
        except ArtifactError as error:
            assert artifact.id in str(error)  # noqa: PT017  (see above)


def test_a_value_of_no_known_kind_is_taken_by_none_of_them() -> None:
    assert [one.name for one in registry.candidates(Plain(1))] == ["pickle"]


def test_code_is_not_run_without_leave(case: Case, store: FileStore, desk: Path) -> None:
    artifact = saved(case.ordinary(desk), store)
    if not case.code_bearing:
        load(artifact, store, allow_code=False)
        return
    for record in (artifact, replace(artifact, code_bearing=False)):  # the record may lie
        with pytest.raises(ArtifactError, match="PENSTOCK_ALLOW_PICKLE"):
            load(record, store, allow_code=False)


PLUG_IN = """
from penstock.runtime.materializers import Materializer

class Celsius:
    def __init__(self, degrees):
        self.degrees = degrees

class Thermometer(Materializer):
    name = "celsius"

    def handles(self, kind):
        return kind is Celsius

    def save(self, value, sink):
        sink.write("degrees.txt", str(value.degrees).encode())
        return {"preview": f"{value.degrees} C"}

    def load(self, files, type_hint):
        return Celsius(float(files.read("degrees.txt")))
"""
USE = """
import sys
from celsius import Celsius
from penstock.ids import new_id
from penstock.runtime.materializers import load, save
from penstock.stack.flavors.file_store import FileStore

store = FileStore(sys.argv[1])
artifact = save(Celsius(21.5), store, id=new_id(), run_id=None, step=None, output=None)
print(artifact.materializer, artifact.code_bearing, load(artifact, store, allow_code=False).degrees)
"""


def test_a_package_brings_a_materializer_by_an_entry_point(tmp_path: Path) -> None:
    site = tmp_path / "site"
    facts = site / "celsius-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "celsius.py").write_text(PLUG_IN)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: celsius\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[penstock.materializers]\ncelsius = celsius:Thermometer\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    command = [sys.executable, "-W", "error", "-c", USE, str(tmp_path / "store")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "celsius False 21.5\n", "")

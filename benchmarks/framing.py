"""A data frame of one gigabyte, saved and loaded as a step's result is: into a content-addressed store, digests checked."""

from __future__ import annotations

import shutil
from typing import Any

from benchmarks.figures import Aim, Figure
from benchmarks.harness import Lab, check, in_turns, took

ROWS = 10_000_000
NUMBERS = 11
ROUNDS = 4
"""At most: one takes some seconds."""


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Seconds to save and to load again, together."""
    from penstock.ids import new_id  # only this benchmark works in the process of the benchmarks
    from penstock.runtime.materializers import load, save
    from penstock.stack.flavors.file_store import FileStore

    frame = _frame()
    folder = lab.new("frames")

    def theirs() -> None:
        import pandas as pd  # what is measured against

        frame.to_parquet(folder / "frame.parquet")
        _check(pd.read_parquet(folder / "frame.parquet"), frame)

    def ours() -> None:
        store = FileStore(path=str(folder / "store"))
        artifact = save(frame, store, id=new_id(), run_id=None, step=None, output=None)
        check([file.name for file in artifact.files] == ["frame.parquet"], f"kept as {artifact.files}")
        _check(load(artifact, store, allow_code=False), frame)

    def once(what: Any) -> tuple[float]:
        seconds = took(what)
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return (seconds,)

    [us], [them] = in_turns(min(repeat, ROUNDS), lambda: once(ours), lambda: once(theirs))
    return [
        Figure(
            what="data frame of 1 GB, saved and loaded",
            ours=us,
            against="pandas, to Parquet and back",
            yardstick=them,
            aim=Aim(1.3, times=True),
        )
    ]


def _frame() -> Any:
    import numpy as np  # see above
    import pandas as pd

    chance = np.random.default_rng(1)
    words = np.array(["red", "green", "blue", "violet"])
    columns: dict[str, Any] = {f"number {at}": chance.standard_normal(ROWS) for at in range(NUMBERS)}
    columns["key"] = chance.integers(0, 1000, ROWS)
    columns["word"] = words[chance.integers(0, len(words), ROWS)]
    return pd.DataFrame(columns)


def _check(back: Any, frame: Any) -> None:
    same = len(back) == len(frame) and list(back.dtypes) == list(frame.dtypes)
    check(same and back["number 0"].iat[-1] == frame["number 0"].iat[-1], "another frame came back")

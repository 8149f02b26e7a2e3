from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import plotly.graph_objects as go
import pytest

from penstock.errors import ArtifactError
from penstock.runtime.materializers.plotly_figure import PlotlyFigure

FIGURES = [
    go.Figure(),
    go.Figure(go.Scatter(x=[1, 2], y=[3, 4], uid="mine"), layout={"title": {"text": "Loss"}}),
    go.Figure(go.Bar(x=["a", "b"], y=[1, None])),
    go.Figure(go.Heatmap(z=[[1, 2], [3, 4]])),
    go.Figure(go.Scatter(y=[1]), frames=[go.Frame(data=[go.Scatter(y=[2])], name="next")]),
]


@pytest.mark.parametrize("value", FIGURES, ids=range(len(FIGURES)))
def test_figures_come_back(there_and_back: Callable[[Any, str], Any], value: Any) -> None:
    back = there_and_back(value, "plotly")
    assert type(back) is go.Figure
    assert back == value


@pytest.mark.parametrize("array", [np.arange(3), np.array([[0.5, 1], [2, 3]]), np.array([1, 2], "u1")])
def test_arrays_come_back_as_arrays(there_and_back: Callable[[Any, str], Any], array: Any) -> None:
    back = there_and_back(go.Figure(go.Heatmap(z=array) if array.ndim > 1 else go.Scatter(y=array)), "plotly")
    found = back.data[0].z if array.ndim > 1 else back.data[0].y
    np.testing.assert_array_equal(found, array)
    assert (found.dtype.kind, found.shape, found.flags.writeable) == (array.dtype.kind, array.shape, True)


def test_what_json_cannot_say_is_drawn_the_same(shelf: Any) -> None:
    value = go.Figure(go.Scatter(x=[datetime.datetime(2024, 1, 1)] * 2, y=[float("nan"), 1]))
    artifact = shelf.save(value)
    back = shelf.load(artifact)
    assert list(back.data[0].x) == ["2024-01-01T00:00:00"] * 2
    assert list(back.data[0].y) == [None, 1]
    assert shelf.save(value).digest == artifact.digest


def test_a_widget_is_not_taken_for_a_figure() -> None:
    assert not any(PlotlyFigure().handles(kind) for kind in go.FigureWidget.__mro__)


class Mine(go.Figure):
    pass


def test_a_subclass_is_pickled_and_says_so(shelf: Any) -> None:
    assert shelf.save(Mine()).code_bearing


def test_what_is_no_figure_is_an_error(shelf: Any) -> None:
    artifact = shelf.save(go.Figure())
    for data in (
        b'{"data": [{"type": "nonsense"}]}',
        b"[1",
        msgspec.json.encode({"data": [{"y": {"dtype": "O", "bdata": "AA=="}}]}),
    ):
        digest, size = shelf.store.put(data)
        file = dataclasses.replace(artifact.files[0], digest=digest, size=size)
        with pytest.raises(ArtifactError, match="cannot be loaded"):
            shelf.load(dataclasses.replace(artifact, files=(file,), digest=digest))


def test_the_facts(shelf: Any) -> None:
    facts = shelf.save(go.Figure([go.Bar(y=[1]), go.Scatter(y=[1])], layout={"title": {"text": "Loss"}})).metadata
    assert facts == {"title": "Loss", "trace_count": 2, "traces": ["bar", "scatter"], "frames": 0}

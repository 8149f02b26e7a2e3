from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from penstock.errors import ArtifactError


def drawn(points: int = 10) -> Figure:
    figure = Figure(figsize=(4, 3), dpi=50)
    axes = figure.add_subplot()
    axes.plot(np.arange(points), np.random.default_rng(0).normal(size=points), "o")
    axes.set(title="Loss", xlabel="epoch", ylabel="nats")
    figure.suptitle("Training")
    return figure


def test_a_figure_is_kept_as_pictures(shelf: Any) -> None:
    artifact = shelf.save(drawn())
    assert (artifact.materializer, artifact.code_bearing) == ("matplotlib", False)
    assert artifact.type == "matplotlib.figure.Figure"
    png, svg = (shelf.store.get(file.digest) for file in artifact.files)
    assert png.startswith(b"\x89PNG")
    assert b"<svg" in svg
    back = shelf.load(artifact)
    assert type(back) is Image.Image
    assert back.size == (200, 150)
    assert len(back.convert("RGB").getcolors(100_000)) > 2


def test_the_same_figure_has_the_same_digest(shelf: Any) -> None:
    assert shelf.save(drawn()).digest == shelf.save(drawn()).digest
    assert mpl.rcParams["svg.hashsalt"] is None


def test_a_figure_cannot_be_had_and_that_is_said(shelf: Any) -> None:
    artifact = shelf.save(drawn())
    with pytest.raises(ArtifactError, match=r"PIL\.Image\.Image"):
        shelf.load(artifact, type_hint=Figure)
    assert shelf.load(artifact, type_hint=Image.Image).size == (200, 150)


def test_a_figure_inside_a_value_comes_back_as_a_picture(shelf: Any) -> None:
    back = shelf.load(shelf.save({"figure": drawn(), "loss": 0.5}))
    assert back["loss"] == 0.5
    assert back["figure"].size == (200, 150)


def test_a_drawing_that_is_too_large_is_left_out(shelf: Any) -> None:
    artifact = shelf.save(drawn(60_000))
    assert [file.name for file in artifact.files] == ["figure.png"]
    assert artifact.metadata["svg"] is False
    assert shelf.load(artifact).size == (200, 150)


def test_a_figure_that_cannot_be_drawn_is_an_error(shelf: Any) -> None:
    figure = drawn()
    figure.axes[0].set_title("$\\nonsense{$")
    with pytest.raises(ArtifactError, match="cannot be saved"):
        shelf.save(figure)


def test_the_facts(shelf: Any) -> None:
    assert shelf.save(drawn()).metadata == {
        "size": [4.0, 3.0],
        "dpi": 50.0,
        "title": "Training",
        "axes": [{"title": "Loss", "x": "epoch", "y": "nats"}],
        "svg": True,
        "image": "figure.png",
    }
    assert shelf.save(Figure()).metadata["axes"] == []

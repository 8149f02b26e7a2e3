from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from penstock.errors import ArtifactError
from penstock.model.artifact import artifact_digest


def noise(mode: str, size: tuple[int, int] = (37, 23)) -> Image.Image:
    """An image of the mode with arbitrary pixels."""
    length = len(Image.new(mode, size).tobytes())
    data = bytearray(np.random.default_rng(0).integers(0, 256, length, dtype=np.uint8).tobytes())
    if mode == "F":
        data = bytearray(np.random.default_rng(0).normal(size=size).astype("f4").tobytes())
    image = Image.frombytes(mode, size, bytes(data))
    if mode in {"P", "PA"}:
        image.putpalette(bytes(range(256)) * 3)
    return image


BY_PNG = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]
BY_PIXELS = ["CMYK", "F", "HSV", "I", "I;16B", "La", "LAB", "PA", "RGBa", "RGBX", "YCbCr"]


@pytest.mark.parametrize("mode", BY_PNG + BY_PIXELS)
def test_every_mode_comes_back(shelf: Any, mode: str) -> None:
    value = noise(mode)
    artifact = shelf.save(value)
    assert (artifact.materializer, artifact.code_bearing) == ("pil", False)
    assert ("image.png" in {file.name for file in artifact.files}) == (mode in BY_PNG)
    back = shelf.load(artifact)
    assert type(back) is Image.Image
    assert back == value
    assert shelf.save(value).digest == artifact.digest


@pytest.mark.parametrize("size", [(0, 0), (0, 3), (1, 1)])
def test_small_images_come_back(there_and_back: Callable[[Any, str], Any], size: tuple[int, int]) -> None:
    assert there_and_back(Image.new("RGB", size, "red"), "pil") == Image.new("RGB", size, "red")


def test_an_image_above_the_limit_of_the_reader_comes_back(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    value = noise("RGB")
    assert shelf.load(shelf.save(value)) == value


def test_a_palette_with_transparency_comes_back(there_and_back: Callable[[Any, str], Any]) -> None:
    for value in (noise("RGBA").quantize(8), noise("RGB").quantize(8), Image.new("P", (2, 2), 5)):
        back = there_and_back(value, "pil")
        assert back == value
        assert back.convert("RGBA") == value.convert("RGBA")


def test_info_comes_back(there_and_back: Callable[[Any, str], Any]) -> None:
    value = noise("RGB")
    value.info = {"dpi": (72.5, 72), "icc_profile": b"\0profile", "transparency": (1, 2, 3), "note": "ä", "gamma": 0.45}
    back = there_and_back(value, "pil")
    assert back == value
    assert back.info == value.info


def test_an_opened_file_comes_back_as_an_image(shelf: Any, tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("prompt", "a köhler", lang="de")
    for name, options in {
        "a.jpg": {"dpi": (300, 300)},
        "a.png": {"pnginfo": text},
        "a.tiff": {"dpi": (72.5, 72.5)},
    }.items():
        noise("RGB").save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as opened:
            artifact = shelf.save(opened)
            expected = opened.copy()
        assert artifact.materializer == "pil"
        assert artifact.metadata["from"] in {"JPEG", "PNG", "TIFF"}
        back = shelf.load(artifact)
        assert type(back) is Image.Image
        assert back.tobytes() == expected.tobytes()
        assert back.info == expected.info


def test_frames_are_not_dropped_in_silence(shelf: Any, tmp_path: Path) -> None:
    first, *rest = (Image.new("P", (4, 4), number) for number in range(3))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (4, 4), "red"), *rest])
    with Image.open(tmp_path / "moving.gif") as moving:
        assert moving.n_frames > 1
        with pytest.raises(ArtifactError, match=r"frames.*image\.copy\(\)"):
            shelf.save(moving)
        assert shelf.save(moving.copy()).materializer == "pil"


class Thing:
    pass


class Mine(Image.Image):
    pass


def test_what_cannot_be_said_is_pickled_and_says_so(shelf: Any) -> None:
    value = noise("L")
    value.info = {"thing": Thing()}
    assert shelf.save(value).code_bearing

    mine = noise("L")
    mine.__class__ = Mine
    assert shelf.save(mine).materializer == "pickle"


def test_only_png_is_read_from_a_file_that_says_so(shelf: Any) -> None:
    artifact = shelf.save(noise("RGB"))
    other = io.BytesIO()
    noise("RGB").save(other, "TIFF")
    digest, size = shelf.store.put(other.getvalue())
    files = tuple(
        dataclasses.replace(file, digest=digest, size=size) if file.name == "image.png" else file
        for file in artifact.files
    )
    with pytest.raises(ArtifactError, match="cannot identify"):
        shelf.load(dataclasses.replace(artifact, files=files, digest=artifact_digest(files)))


def test_the_facts(shelf: Any) -> None:
    assert shelf.save(noise("LA")).metadata == {
        "width": 37,
        "height": 23,
        "mode": "LA",
        "from": None,
        "image": "image.png",
    }


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "HSV", "I", "YCbCr", "PA"])
def test_a_big_image_has_a_small_one_to_look_at(shelf: Any, mode: str) -> None:
    artifact = shelf.save(noise(mode, (1000, 500)))
    assert artifact.metadata["image"] == "preview.png"
    [file] = [one for one in artifact.files if one.name == "preview.png"]
    with Image.open(io.BytesIO(shelf.store.get(file.digest))) as preview:
        assert (preview.format, preview.size) == ("PNG", (256, 128))


def test_a_small_image_is_its_own_preview_where_browsers_know_it(shelf: Any) -> None:
    assert shelf.save(noise("RGB")).metadata["image"] == "image.png"
    assert shelf.save(noise("CMYK")).metadata["image"] == "preview.png"
    assert shelf.save(Image.new("CMYK", (0, 0))).metadata.get("image") is None

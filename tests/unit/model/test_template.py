"""References to templates."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.model.template import parse_reference


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("train", ("train", None)),
        ("train@v7", ("train", 7)),
        ("train@prod", ("train", "prod")),
        ("daily-retraining@v12", ("daily-retraining", 12)),
    ],
)
def test_a_reference_is_a_name_and_perhaps_a_version(text: str, meaning: tuple[str, int | None]) -> None:
    assert parse_reference(text) == meaning


@pytest.mark.parametrize("text", ["", "train@", "train@7", "train@v0", "train@v-1", "@v1", "a@b@v1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a template reference"):
        parse_reference(text)

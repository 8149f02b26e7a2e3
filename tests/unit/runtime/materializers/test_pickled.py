from __future__ import annotations

import builtins
import sys
import threading
from typing import Any

import pytest

from penstock.errors import ArtifactError


class Thing:
    def __init__(self, content: Any) -> None:
        self.content = content

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_any_object_is_kept_and_marked(shelf: Any) -> None:
    artifact = shelf.save(Thing({"a": {1, 2}}))
    assert (artifact.materializer, artifact.code_bearing) == ("pickle", True)
    assert artifact.type == f"{__name__}.Thing"
    assert artifact.metadata["format"].startswith("cloudpickle 3")
    assert artifact.metadata["preview"] == "<Thing>"
    assert shelf.load(artifact, allow_code=True).content == {"a": {1, 2}}


def test_a_function_of_nowhere_is_kept_by_cloudpickle(shelf: Any) -> None:
    by = 3
    assert shelf.load(shelf.save(lambda x: x + by), allow_code=True)(1) == 4


def test_without_cloudpickle_pickle_does_what_it_can(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    artifact = shelf.save(Thing(1))
    assert artifact.metadata["format"] == "pickle"
    assert shelf.load(artifact, allow_code=True).content == 1
    with pytest.raises(ArtifactError, match="cannot be pickled"):
        shelf.save(lambda: None)


@pytest.mark.parametrize("make", [threading.Lock, lambda: [sys._getframe()]])
def test_what_cannot_be_kept_says_what_to_do(shelf: Any, make: Any) -> None:
    value = make()
    with pytest.raises(ArtifactError) as raised:
        shelf.save(value)
    text = str(raised.value)
    assert text.startswith("Output 'thing' of step 'make' is a ")
    assert f"{type(value).__module__}.{type(value).__qualname__}" in text
    assert "cannot be pickled" in text
    assert "register a materializer" in text
    assert list(shelf.store.digests()) == []


def test_a_pickle_whose_class_is_gone_is_an_error(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = shelf.save(Thing(1))
    monkeypatch.delattr(sys.modules[__name__], "Thing")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        shelf.load(artifact, allow_code=True)


def test_a_full_disk_is_not_the_values_fault(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cloudpickle.dump", full)
    with pytest.raises(ArtifactError, match="No space left"):
        shelf.save(Thing(1))
    assert builtins.open is open

"""What the tests of materializers share: a store, and a value's way there and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.ids import new_id
from penstock.model.artifact import Artifact
from penstock.runtime.materializers import load, save
from penstock.stack.flavors.file_store import FileStore


@dataclass(frozen=True)
class Shelf:
    """A store with the two verbs."""

    store: FileStore

    def save(self, value: Any) -> Artifact:
        return save(value, self.store, id=new_id(), run_id=None, step="make", output="thing")

    def load(self, artifact: Artifact, *, type_hint: Any = None, allow_code: bool = False) -> Any:
        return load(artifact, self.store, type_hint=type_hint, allow_code=allow_code)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(FileStore(tmp_path / "store"))


@pytest.fixture
def there_and_back(shelf: Shelf) -> Callable[[Any, str], Any]:
    """Save a value, expect the named materializer, and load it without leave to run code."""

    def go(value: Any, materializer: str) -> Any:
        artifact = shelf.save(value)
        assert (artifact.materializer, artifact.code_bearing) == (materializer, False)
        return shelf.load(artifact)

    return go

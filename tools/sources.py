"""The Python files that the checks of this folder look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "tools", "examples", "benchmarks")


@dataclass(frozen=True)
class Source:
    """One parsed file. `path` is relative to the root, with forward slashes."""

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def of(cls, path: str, text: str) -> Source:
        """Parse `text` as the file `path`."""
        return cls(path, text, ast.parse(text, path))

    @property
    def lines(self) -> list[str]:
        """The lines of the file; line `n` of the tree is `lines[n - 1]`."""
        return self.text.splitlines()


def sources(root: Path = ROOT) -> Iterator[Source]:
    """Every Python file below the folders that hold our code, in order."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            yield Source.of(path.relative_to(root).as_posix(), path.read_text())

"""What stays out of a code archive without a word: what ignore files say, and what never belongs to a project."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import AuthoringError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILES = (".gitignore", ".penstockignore")
"""In one directory the latter has the last word."""

_VERSION_CONTROL = ".git .hg .svn .bzr"
_ENVIRONMENTS = ".venv venv node_modules __pypackages__ .direnv .tox .nox .eggs"
_CACHES = "__pycache__ .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .ipynb_checkpoints .coverage"
_DESKTOP = ".DS_Store Thumbs.db .idea .vscode"
_NEVER = frozenset(f"{_VERSION_CONTROL} {_ENVIRONMENTS} {_CACHES} {_DESKTOP} .penstock".split())
_NEVER_ENDS = (".pyc", ".pyo", ".swp", "~")


class Ignoring:
    """The rules in force in one directory. Immutable: each directory has its own, made from those of its parent."""

    __slots__ = ("_layers",)

    def __init__(self, layers: tuple[tuple[GitIgnoreSpec, str], ...] = ()) -> None:
        # Nearest first; with each the path from its own directory to this one, empty or ending in a slash.
        self._layers = layers

    @classmethod
    def above(cls, root: Path) -> Ignoring:
        """The rules that the repository around `root` has for it; none if it says that `root` itself is ignored."""
        if (root / ".git").exists():
            return cls()
        top = next((folder for folder in root.parents if (folder / ".git").exists()), None)
        if top is None:
            return cls()
        rules = cls().within(top)
        for name in root.relative_to(top).parts:
            if rules.ignores(name, directory=True):
                return cls()
            rules = rules.deeper(name)
            if top / name != root:
                top = top / name
                rules = rules.within(top)
        return rules

    def within(self, folder: Path, names: Collection[str] = IGNORE_FILES) -> Ignoring:
        """These rules and those in `folder` itself. `names`: what is known to be there."""
        found = [folder / name for name in IGNORE_FILES if name in names and (folder / name).is_file()]
        if not found:
            return self
        from pathspec import GitIgnoreSpec  # a third of the time it takes to freeze; many projects have no ignore file

        lines: list[str] = []
        for file in found:
            lines += file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        try:
            return Ignoring(((GitIgnoreSpec.from_lines(lines), ""), *self._layers))
        except ValueError as error:
            raise AuthoringError(f"{' or '.join(map(str, found))} cannot be understood: {error}.") from error

    def deeper(self, name: str) -> Ignoring:
        """The same rules as they stand for the directory `name` in this one."""
        return Ignoring(tuple((spec, f"{path}{name}/") for spec, path in self._layers))

    def ignores(self, name: str, *, directory: bool) -> bool:
        """Whether the entry `name` of this directory stays out: the nearest file that says anything about it decides."""
        if name in _NEVER or name.endswith(_NEVER_ENDS):
            return True
        for spec, path in self._layers:
            said = spec.check_file(path + name + ("/" if directory else "")).include
            if said is not None:
                return said
        return False

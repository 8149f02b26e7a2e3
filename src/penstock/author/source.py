"""Where code comes from: `module:attribute`, the directory it is imported from, and back to the pipeline."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from penstock.author.declaration import Declaration
from penstock.author.direct import importing
from penstock.author.pipeline import Pipeline
from penstock.errors import SourceNotFound

_preloaded: list[str] = []


def preload(module: str) -> None:
    """From now on, have `module` imported before the code of a pipeline wherever something that is frozen here runs."""
    if module not in _preloaded:
        _preloaded.append(module)


def preloaded() -> tuple[str, ...]:
    """What is to be imported first."""
    return tuple(_preloaded)


@dataclass(frozen=True)
class Location:
    """Where a function is defined. `root`: the directory that must be on the path to import it; None: `note` says why."""

    source: str
    root: Path | None
    note: str | None = None


def source_of(thing: Declaration | Callable[..., Any]) -> str:
    """`module:attribute` of a step, pipeline or function. A script has the name of its file as module."""
    return f"{_module_name(thing)}:{_attribute(thing)}"


def locate(thing: Declaration | Callable[..., Any]) -> Location:
    """Where `thing` can be imported from again. Never raises: what cannot be archived can still be run here and now."""
    source = source_of(thing)
    try:
        return Location(source, _root(thing))
    except _NoRoot as reason:
        return Location(source, None, str(reason))


class _NoRoot(Exception):
    """There is no directory to archive; the text says why, and what to do."""


def _module(thing: Any) -> ModuleType | None:
    return sys.modules.get(thing.__module__)


def _module_name(thing: Any) -> str:
    """The name under which the module can be imported; `__main__` has another one, if it has a file."""
    name: str = thing.__module__
    module = _module(thing)
    if name != "__main__" or module is None:
        return name
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return str(spec.name)  # python -m package.module
    file = getattr(module, "__file__", None)
    return Path(file).stem if file else name


def _attribute(thing: Any) -> str:
    """The name that the module has for it; the function's own if it has none."""
    own: str = thing.__qualname__
    names = vars(_module(thing) or ModuleType(""))
    if names.get(own) is thing:
        return own
    return next((name for name, value in names.items() if value is thing), own)


def _root(thing: Any) -> Path:
    kind = getattr(thing, "kind", "function")
    file = getattr(_module(thing), "__file__", None)
    if not file or not Path(file).is_file():
        raise _NoRoot(
            f"The {kind} was typed into a session or a notebook. Put it into a .py file and import it;"
            " in a notebook, `%%writefile steps.py` as the first line of a cell makes a file of the cell."
        )
    if "<locals>" in _attribute(thing):
        raise _NoRoot(f"The {kind} is made inside a function. Make it a name of the module: `my_{kind} = make()`.")
    path = Path(file).resolve()
    parts = _module_name(thing).split(".")
    if path.suffix != ".py" or parts == ["__main__"]:
        raise _NoRoot(f"{path} cannot be imported under a name of its own. Give the file a name that ends in .py.")
    if path.name == "__init__.py":
        parts.append("__init__")
    if thing.__module__ == "__main__" and _only_in_script(path, _attribute(thing)):
        raise _NoRoot(f"'{_attribute(thing)}' is not there when {path} is imported. {_MOVE}")
    if list(path.with_suffix("").parts[-len(parts) :]) != parts:
        raise _NoRoot(f"{path} was imported as '{_module_name(thing)}', which does not follow from its path.")
    return _fit(path.parents[len(parts) - 1])


_MOVE = (
    'It stands under `if __name__ == "__main__":`, which only the script itself carries out. Move it above that line.'
)


def _only_in_script(path: Path, name: str) -> bool:
    """Whether the file makes `name` under `if __name__ == "__main__":` and nowhere else, so that importing does not.

    By its lines: Python 3.11 cannot parse in several threads at once, and pipelines are called in them.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    makes = re.compile(rf"\s*(?:(?:async\s+)?def\s+{re.escape(name)}\b|{re.escape(name)}\s*(?::[^=]+)?=[^=])")
    guarded, places = False, set()
    for line in lines:
        if line and not line[0].isspace() and line[0] != "#":
            guarded = line.startswith("if ") and "__name__" in line and "__main__" in line
        if makes.match(line):
            places.add(guarded)
    return places == {True}


def _fit(root: Path) -> Path:
    """`root`, unless it is a place where projects lie next to everything else."""
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111 - Path.home() raises for a user who has none
    if root == home or root in home.parents:
        raise _NoRoot(
            f"The code lies in {root}, next to everything else you have. Move it into a directory of its own."
        )
    if root in {Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")}:  # noqa: S108 - nothing is made there
        raise _NoRoot(f"The code lies in {root} itself. Move it into a directory of its own.")
    installed = {Path(path).resolve() for path in map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))}
    if any(root == path or path in root.parents for path in installed) or root.name in (
        "site-packages",
        "dist-packages",
    ):
        raise _NoRoot(
            f"The code is an installed package ({root}). Write a module of your own that imports the pipeline."
        )
    return root


def load_source(source: str, directory: Path | None = None) -> Pipeline:
    """Import the pipeline that `source` names: `module:attribute`, `module.attribute` or `path/to/file.py:attribute`.

    `directory` (default: the current one) goes to the front of the import path; given, the module must come from there.
    Raises `SourceNotFound` with what is there instead. What the module itself raises passes through.
    """
    name, attribute, root = _parsed(source, directory)
    module = _imported(source, name, root)
    if directory is not None:
        _check_origin(module, root)
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Pipeline):
        return found
    raise _not_found(source, module, attribute, found)


def load_function(name: str) -> Callable[..., Any]:
    """Import the function or class that `name` (`module:attribute`, `module.attribute`) names. Raises `SourceNotFound`."""
    module_name, colon, attribute = name.rpartition(":")
    if not colon:
        module_name, _, attribute = name.rpartition(".")
    if not module_name or not attribute:
        raise SourceNotFound(f"'{name}' names no function. Write module:function.")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise SourceNotFound(f"'{name}': there is no module '{module_name}' where this runs.") from None
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise SourceNotFound(f"'{name}': the module {module_name} has no function '{attribute}'.")
    return found  # type: ignore[no-any-return]


def _parsed(source: str, directory: Path | None) -> tuple[str, str, Path]:
    """Module, attribute and import directory."""
    root = (directory or Path.cwd()).resolve()
    left, colon, attribute = source.rpartition(":")
    if not colon:
        left, _, attribute = source.rpartition(".")
    if not left or not attribute or (not colon and source.endswith(".py")):
        raise SourceNotFound(
            f"'{source}' names no pipeline. Write module:attribute, module.attribute or path/to/file.py:attribute."
        )
    if not left.endswith(".py") and os.sep not in left:
        return left, attribute, root
    file = (root / Path(left).expanduser()).resolve()
    if not file.is_file() or file.suffix != ".py":
        raise SourceNotFound(f"There is no Python file {file}.{_similar(file.name, _names(file.parent, '*.py'))}")
    parts, folder = [file.stem], file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts), attribute, folder


def _imported(source: str, name: str, root: Path) -> ModuleType:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    importlib.invalidate_caches()  # the directory may be younger than what Python remembers of it
    try:
        with importing(source):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, something that it imports is not
        modules = [*_names(root, "*.py"), *_names(root, "*/__init__.py")]
        raise SourceNotFound(f"There is no module '{name}' in {root}.{_similar(name, modules)}") from None


def _names(folder: Path, pattern: str) -> list[str]:
    """What can be imported from `folder`, by file name or package name."""
    files = sorted(folder.glob(pattern)) if folder.is_dir() else []
    return [file.parent.name if file.name == "__init__.py" else file.stem for file in files]


def _check_origin(module: ModuleType, root: Path) -> None:
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).resolve().is_relative_to(root):
        raise SourceNotFound(
            f"The name '{module.__name__}' is taken by another module of Python or of a package ({file or 'built in'}), so "
            "the pipeline's file cannot be imported under it. Rename the file."
        )


def _not_found(source: str, module: ModuleType, attribute: str, found: Any) -> SourceNotFound:
    pipelines = [name for name, value in vars(module).items() if isinstance(value, Pipeline)]
    if found is None:
        what = f"The module {module.__name__} ({getattr(module, '__file__', 'built in')}) has no '{attribute}'."
        if _only_in_script(Path(getattr(module, "__file__", None) or ""), attribute):
            what += f" {_MOVE}"
    elif isinstance(found, Declaration):
        what = f"'{source}' is a {found.kind}, not a pipeline."
    else:
        what = f"'{source}' is no pipeline but {type(found).__name__}: put @pipeline over the function."
    return SourceNotFound(
        what + _similar(attribute, pipelines) + f" Pipelines there: {', '.join(pipelines) or 'none'}."
    )


def _similar(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""

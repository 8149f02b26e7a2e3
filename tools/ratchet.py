"""The size ratchet: no file over 500 lines, no function over 80 lines or 7 arguments.

The options of a command of the command line are its surface, given by name and one by one: a command may have 12. In tests arguments are not counted: they are fixtures and cases, which nobody passes.

What is bigger today stands frozen in `ratchet.json`, at its size of today. That list may only shrink: an entry that is
larger than what it allows fails, and so does one that allows more than is there.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.sources import Source, sources

FILE_LINES = 500
FUNCTION_LINES = 80
ARGUMENTS = 7
OPTIONS = 12
FROZEN = Path(__file__).with_name("ratchet.json")


def oversized(source: Source) -> Iterator[tuple[str, int, str]]:
    """Everything in the file over its limit: a name that is stable between versions, its size, and the limit in words."""
    lines = len(source.lines)
    if lines > FILE_LINES:
        yield source.path, lines, f"lines (limit {FILE_LINES})"
    for name, function in _functions(source.tree):
        where = f"{source.path}::{name}"
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES:
            yield where, length, f"lines (limit {FUNCTION_LINES})"
        command = _is_command(function)
        # What a command is about stands without a name, and has no default: it is no option.
        arguments = _arguments(function) - (_needed(function) if command else 0)
        limit = OPTIONS if command else ARGUMENTS
        if arguments > limit and not source.path.startswith("tests/"):
            yield f"{where}()", arguments, f"arguments (limit {limit})"


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from _functions(node, f"{prefix}{node.name}." if named else prefix)


def _is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is a command: `@app.command(...)`."""
    made = (one.func if isinstance(one, ast.Call) else one for one in function.decorator_list)
    return any(isinstance(one, ast.Attribute) and one.attr == "command" for one in made)


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """What a caller may pass; `self` and `cls` are not passed."""
    given = function.args
    names = [argument.arg for argument in [*given.posonlyargs, *given.args, *given.kwonlyargs]]
    return len(names) - (names[:1] in (["self"], ["cls"])) + (given.vararg is not None) + (given.kwarg is not None)


def _needed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many of them have no default."""
    given = function.args
    named = sum(default is None for default in given.kw_defaults)
    return len([*given.posonlyargs, *given.args]) - len(given.defaults) + named


def complaints(found: Mapping[str, tuple[int, str]], frozen: Mapping[str, int]) -> Iterator[str]:
    """What breaks the rule: new or grown things, and frozen ones that have shrunk or are gone."""
    for name, (size, unit) in found.items():
        if name not in frozen:
            yield f"{name}: {size} {unit}"
        elif size > frozen[name]:
            yield f"{name}: {size} {unit}, frozen at {frozen[name]}: it may only shrink"
    for name, size in frozen.items():
        now = found[name][0] if name in found else None
        if now is None:
            yield f"{name}: within the limits now: take it out of tools/ratchet.json"
        elif now < size:
            yield f"{name}: {now} now: lower its entry in tools/ratchet.json from {size}"


def main() -> int:
    """Print every complaint; the exit status says whether there was one."""
    found = {name: (size, unit) for source in sources() for name, size, unit in oversized(source)}
    problems = list(complaints(found, json.loads(FROZEN.read_text())))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a marker cannot notice: `parameter is None`, `match parameter`, `type(parameter)`. Found in the source instead."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from threading import Lock
from types import FunctionType, ModuleType
from typing import Any

from penstock.author.declaration import Declaration
from penstock.author.pipeline import Pipeline
from penstock.author.signature import plain

PARSING = Lock()
"""To be held by whoever parses source text: CPython 3.11 counts how deep it is for all threads together, and fails
(`SystemError`, python/cpython issue 106905) if two of them parse at once."""

_BLIND = (type, id, callable)
"""Builtins that learn something about a value without asking it."""


def unseen(pipeline: Pipeline) -> list[str]:
    """The parameters of `pipeline` that its function decides on unnoticed, in the order of the signature.

    Follows plain assignments (`y = x`) and calls of other Python functions and pipelines that are passed a parameter.
    Where there is no source, nothing is found.
    """
    found = _Scan().function(pipeline.function, {name: name for name in pipeline.parameters()})
    return [name for name in pipeline.parameters() if name in found]


class _Scan:
    """One search. Remembers where it was: functions may call each other in a circle."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, frozenset[tuple[str, str]]]] = set()

    def function(self, function: Any, parameters: Mapping[str, str]) -> set[str]:
        """The pipeline parameters that `function` decides on; `parameters` maps its arguments to them."""
        inner = plain(function)
        if inner is None or not parameters:
            return set()
        here = (id(inner), frozenset(parameters.items()))
        if here in self._seen:
            return set()
        self._seen.add(here)
        tree = _tree(inner)
        if tree is None:
            return set()
        known = _aliases(tree, parameters)
        found = set()
        for node in ast.walk(tree):
            found |= {known[name] for name in _decided(node) if name in known}
            if isinstance(node, ast.Call):
                found |= self._call(node, inner, known)
        return found

    def _call(self, node: ast.Call, caller: FunctionType, known: Mapping[str, str]) -> set[str]:
        """What the called function decides on, if it is passed parameters and its code can be found."""
        by_position = {index: name for index, arg in enumerate(node.args) if (name := _name(arg)) in known}
        by_name = {kw.arg: name for kw in node.keywords if kw.arg and (name := _name(kw.value)) in known}
        if not by_position and not by_name:
            return set()
        callee = _resolve(node.func, caller)
        if any(callee is builtin for builtin in _BLIND):
            return {known[name] for name in by_position.values()}
        if isinstance(callee, Pipeline):
            callee = callee.function
        if isinstance(callee, Declaration) or not isinstance(callee, FunctionType):
            return set()
        names = callee.__code__.co_varnames[: callee.__code__.co_argcount]
        passed = {names[index]: known[name] for index, name in by_position.items() if index < len(names)}
        return self.function(callee, passed | {arg: known[name] for arg, name in by_name.items()})


def _tree(function: FunctionType) -> ast.AST | None:
    try:
        with PARSING:
            return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):  # no file, or it has changed since it was imported
        return None


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _aliases(tree: ast.AST, parameters: Mapping[str, str]) -> dict[str, str]:
    """Local name -> pipeline parameter, through `y = x`, `a, b = x, y` and `(y := x)`."""
    known = dict(parameters)
    pairs = [pair for node in ast.walk(tree) for pair in _assigned(node)]
    for _ in pairs:  # an alias of an alias may stand before it, in a loop
        known |= {target: known[value] for target, value in pairs if value in known and target not in known}
    return known


def _assigned(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _paired(target, node.value)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield from _paired(node.target, node.value)


def _paired(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, str]]:
    if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
        for one, other in zip(target.elts, value.elts, strict=False):
            yield from _paired(one, other)
    elif _name(target) and _name(value):
        yield _name(target), _name(value)


def _decided(node: ast.AST) -> Iterator[str]:
    """The names whose values this node decides on without asking them."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            if isinstance(operator, ast.Is | ast.IsNot):
                yield _name(left) or _walrus(left)
                yield _name(right) or _walrus(right)
    elif isinstance(node, ast.Match):
        yield from (part.id for part in ast.walk(node.subject) if isinstance(part, ast.Name))


def _walrus(node: ast.expr) -> str:
    return node.target.id if isinstance(node, ast.NamedExpr) else ""


def _resolve(node: ast.expr, function: FunctionType) -> Any:
    """The object that a name, or an attribute of a module, means inside `function`."""
    if isinstance(node, ast.Attribute):
        holder = _resolve(node.value, function)
        return vars(holder).get(node.attr) if isinstance(holder, ModuleType) else None
    name = _name(node)
    known = inspect.getclosurevars(function)
    for names in (known.nonlocals, function.__globals__, known.builtins):
        if name in names:
            return names[name]
    return None

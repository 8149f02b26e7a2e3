"""A test waits for a condition, never for a time: a fixed sleep is too short on a slow day and too long on all others.

The loop of a polling helper may sleep between two looks; it says so with a comment that begins with `poll:`. Code that plays
a slow user may take its time, as long as no test waits until it is over; it says so with `slow:`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tools.lints.findings import Finding, comment_at
from tools.sources import Source


def check(source: Source) -> Iterator[Finding]:
    """Calls of `time.sleep` or `asyncio.sleep` in tests, but for `sleep(0)`, which only lets others go first."""
    if not source.path.startswith("tests/"):
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or not _is_sleep(node.func) or _is_zero(node):
            continue
        if not comment_at(source, node.lineno).startswith(("poll:", "slow:")):
            yield Finding(node.lineno, "A fixed sleep.")


def _is_sleep(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name == "sleep"


def _is_zero(call: ast.Call) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0

"""One request is one transaction, begun and committed at one place: a commit anywhere else can leave half a deed behind.

Besides, whoever takes a whole database along ends one transaction for all of it, in a file of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tools.lints.findings import Finding
from tools.sources import Source

HOME = "src/penstock/store/session.py"
WHOLE = {"src/penstock/store/databases.py", "src/penstock/store/moves.py"}
VERBS = {"begin", "begin_nested", "commit", "rollback"}


def check(source: Source) -> Iterator[Finding]:
    """Calls of a transaction's verbs in the rooms that hold or use the database, outside `store/session.py`."""
    rooms = ("src/penstock/store/", "src/penstock/control/", "src/penstock/server/")
    if not source.path.startswith(rooms) or source.path in {HOME, *WHOLE} or "/migrations/" in source.path:
        return
    for node in ast.walk(source.tree):
        verb = _bare_call(node)
        if verb in VERBS:
            yield Finding(getattr(node, "lineno", 1), f"`.{verb}()` outside {HOME}.")


def _bare_call(node: ast.AST) -> str | None:
    """The method's name in `x.method()`. With arguments (`runs.begin(run_id)`) it is a deed of ours, not of a connection."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name), args=[], keywords=[]):
            return name
    return None

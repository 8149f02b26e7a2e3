"""An import inside a function hides an arrow of the house: it is for heavy or optional packages, and says why.

The reason is a comment on the import, or alone on the line above it; one comment serves the imports that follow it
line by line.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tools.lints.findings import Finding, comment_at
from tools.sources import Source


def check(source: Source) -> Iterator[Finding]:
    """Imports inside functions of the product that carry no reason."""
    if not source.path.startswith("src/"):
        return
    explained = 0
    for node in sorted(_inner_imports(source.tree), key=lambda node: node.lineno):
        if comment_at(source, node.lineno) or node.lineno == explained + 1:
            explained = node.end_lineno or node.lineno
        else:
            yield Finding(node.lineno, "An import inside a function, without a reason.")


def _inner_imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    seen: set[int] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in seen:
                seen.add(id(node))
                yield node

"""References to secrets: what stands in parameters and configurations in the place of a value."""

from __future__ import annotations

import re
from collections.abc import Callable

PATTERN = r"^\{\{ *[A-Za-z][A-Za-z0-9_-]* *\. *[A-Za-z][A-Za-z0-9_-]* *\}\}$"
"""The whole text is one reference: `{{name.key}}`."""

ADVICE = "Give a reference to a secret, {{name.key}}: a value never travels, and is never stored."

SCHEMA = {"type": "string", "format": "secret-reference", "pattern": PATTERN, "writeOnly": True, "description": ADVICE}
"""JSON Schema of what is given for a secret."""

_USED = re.compile(r'"secret-reference"|"secrets":\[[^\]]|' + PATTERN.strip("^$"))
_REFERENCE = re.compile(r"\{\{ *([A-Za-z][A-Za-z0-9_-]*) *\. *([A-Za-z][A-Za-z0-9_-]*) *\}\}")


def used_in(document: str) -> bool:
    """Whether a pipeline uses secrets, by the JSON of what was frozen of it."""
    return _USED.search(document) is not None


def is_reference(text: str) -> bool:
    """Whether the whole text is a reference to a secret."""
    return _REFERENCE.fullmatch(text) is not None


def revealed(text: str, value: Callable[[str, str], str]) -> str:
    """`text` with `value(name, key)` in the place of every reference in it."""
    return _REFERENCE.sub(lambda found: value(found[1], found[2]), text)

"""requirements.lock, read: what is pinned, to which version, with which hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LOCK = Path("requirements.lock")


@dataclass(frozen=True)
class Pin:
    """One distribution of the lock. A `marker` says on which systems it is wanted."""

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str


def normal(name: str) -> str:
    """The name of a distribution in the one form that the index uses."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> list[Pin]:
    """Every pin in the text of a lock. Raises `ValueError` for a line that is none and no comment: nothing is passed over."""
    found: list[Pin] = []
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(
            r"([A-Za-z0-9][\w.-]*)==(\S+?)(?:\s*;\s*(.*?))?((?:\s+--hash=sha256:[0-9a-f]{64})*)\s*", line
        )
        if match is None:
            raise ValueError(f"The lock has a line that is no pin: {line[:100]}")
        name, version, marker, hashes = match.groups()
        found.append(Pin(normal(name), version, tuple(re.findall(r"sha256:([0-9a-f]{64})", hashes)), marker or ""))
    return found

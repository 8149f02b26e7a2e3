"""What code needs of the Python that runs it, as a snapshot has it: a record, light enough for whoever passes it on."""

from __future__ import annotations

import json
from dataclasses import dataclass

from penstock.ids import digest_of


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What the code needs of the Python that runs it. `penstock.model.fitting` reads, checks and compares it."""

    python: str | None = None
    """Versions of Python that will do (`>=3.11,<3.14`); None: whichever is there."""

    packages: tuple[str, ...] = ()
    """What must be installed, one requirement each (PEP 508), with ` --hash=sha256:...` after it where it is held to a file."""

    constraints: tuple[str, ...] = ()
    """What the others must be, if they are installed: the versions of a lock."""

    def digest(self) -> str:
        """SHA-256 of what is said here: equal requirements, equal digest."""
        said = {name: value for name, value in vars(self).items() if value}
        return digest_of(json.dumps(said, sort_keys=True, separators=(",", ":")).encode())

"""The database of an installation as its operator sees it: whether it is sound, what a backup holds, what a move took along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Part = Literal["schema", "integrity", "references", "values", "audit", "code", "artifacts"]

PARTS: tuple[Part, ...] = ("schema", "integrity", "references", "values", "audit", "code", "artifacts")
"""What is looked at, in this order."""


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """`broken`: something is lost or wrong. `attention`: nothing is lost, and there is something to do."""

    severity: Literal["broken", "attention"]
    part: Part
    message: str


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What was found of a database and of the files that belong to it."""

    database: str
    release: str
    schema_now: str | None
    """Revision of its schema; None for an empty one."""

    schema_then: str
    """The revision of this release."""

    looked_at: tuple[Part, ...]
    """The parts that could be looked at: where the schema is another one, the later ones cannot."""

    rows: int
    flaws: tuple[Flaw, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether everything was looked at, and nothing is broken."""
        return self.looked_at == PARTS and all(flaw.severity != "broken" for flaw in self.flaws)


@dataclass(frozen=True, kw_only=True)
class Besides:
    """Something that belongs to an installation and is not in its database."""

    where: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A copy of a database as it was at one moment."""

    database: str
    target: str
    size: int
    """Bytes."""

    schema: str | None
    besides: tuple[Besides, ...]
    """What it does not hold, and what has to be copied after it."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """What was taken along into another database, row for row the same."""

    source: str
    target: str
    rows: Mapping[str, int]
    """How many of each table."""

    dry_run: bool
    set_aside: str | None = None
    """The new name of the file that was the database, so that nobody goes on with it unawares."""

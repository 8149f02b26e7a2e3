"""What a release of Penstock finds of the templates that are in use, before or after a database is brought up to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from penstock.errors import InvalidInput
from penstock.model.inputs import check_terms
from penstock.model.snapshot import FORMAT, Snapshot
from penstock.model.terms import Terms

Severity = Literal["broken", "attention"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`broken`: a trigger would be refused or fail. `attention`: it will run, and not quite as before."""

    severity: Severity
    message: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One version of a template that callers reach by its name or an alias."""

    template: str
    version: int
    reached_as: tuple[str, ...]
    """`name`, `name@alias`, ...: how callers come to it."""

    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a release makes of a database; nothing was changed."""

    release: str
    schema_now: str | None
    """Revision of the database's schema; None for an empty one."""

    schema_then: str
    checked: tuple[Checked, ...]

    @property
    def broken(self) -> bool:
        """Whether anything that works today would not work then."""
        return any(one.severity == "broken" for checked in self.checked for one in checked.findings)


def findings(
    snapshot: Snapshot, terms: Terms, *, python: str, has_code: bool, has_executable: bool
) -> Iterator[Finding]:
    """What there is to say of running this snapshot with a release that has the Python version `python`."""
    content = snapshot.content
    if content.format > FORMAT:
        told = f"It was frozen in format {content.format}, and this release reads up to {FORMAT}: use the newer one."
        yield Finding(severity="broken", message=told)
        return
    if content.code is None:
        yield Finding(
            severity="broken", message=f"Its code was not archived: {content.code_note or 'publish it again'}."
        )
    elif not has_code:
        told = f"Its code archive {content.code} is missing or damaged: restore it, or publish it again."
        yield Finding(severity="broken", message=told)
    try:
        check_terms(snapshot, terms)
    except InvalidInput as error:
        told = "; ".join(f"{one['pointer']}: {one['message']}" for one in error.errors)
        yield Finding(severity="broken", message=f"The template's terms do not fit this version. {told}")
    if content.environment.requires is not None and content.environment.requires.python is not None:
        return  # a Python that does is found or built for it
    frozen_with, executable = content.environment.python, content.environment.executable
    if executable is not None and not has_executable and _minor(frozen_with) != _minor(python):
        told = f"It was frozen with Python {frozen_with} ({executable}), which is not here: it will run with {python}."
        yield Finding(severity="attention", message=told)


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])

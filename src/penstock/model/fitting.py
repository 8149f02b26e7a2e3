"""What code requires: checked as people write it (PEP 508, PEP 440), compared, and held against what is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from penstock.errors import InvalidInput, fault, pointer
from penstock.model.requirements import Requirements

_HASH = re.compile(r"[ \t]+--hash=((?:sha256|sha384|sha512):[0-9a-f]{64,128})(?=[ \t]|$)")
_CREDENTIALS = re.compile(r"://[^/@\s]*@")


@dataclass(frozen=True)
class Wanted:
    """One requirement, read. `hashes` are those of the files that may be installed; none: any."""

    requirement: Requirement
    hashes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name in the one form that the index uses."""
        return canonicalize_name(self.requirement.name)

    def __str__(self) -> str:
        return " ".join([str(self.requirement), *(f"--hash={one}" for one in self.hashes)])


@dataclass(frozen=True)
class Installed:
    """A distribution that is installed. `url` says from where, if that was no index; `needs` is its own metadata's word."""

    version: str
    url: str | None = None
    needs: tuple[str, ...] = ()


Find = Callable[[str], Installed | None]
"""What is installed under a name."""


def wanted(text: str) -> Wanted:
    """One requirement as people write it. Raises `ValueError` saying what is wrong with it."""
    if not text.isprintable():
        raise ValueError("it has a line break or another character that cannot be printed")
    hashes = tuple(_HASH.findall(text))
    bare = _HASH.sub("", text).strip()
    if bare.startswith("-"):
        raise ValueError(
            "it is an option: where packages come from is for the runner to know (UV_INDEX_URL, UV_FIND_LINKS)"
        )
    try:
        requirement = Requirement(bare)
    except InvalidRequirement as error:
        raise ValueError(f"it is no requirement (PEP 508): {str(error).splitlines()[0]}") from None
    if requirement.url is not None and _hidden(requirement.url):
        raise ValueError("its address holds credentials, which everybody could read: leave them to the runner (.netrc)")
    return Wanted(requirement, hashes)


def _hidden(url: str) -> bool:
    found = _CREDENTIALS.search(url)
    return found is not None and found[0] != "://git@"


def checked(given: Requirements, *, at: tuple[str | int, ...] = ()) -> Requirements:
    """The same in its one form: sorted, nothing twice. Raises `InvalidInput` with every mistake; pointers begin with `at`."""
    faults: list[dict[str, Any]] = []

    def lines(name: str) -> tuple[str, ...]:
        read = []
        for index, text in enumerate(getattr(given, name)):
            try:
                read.append(str(wanted(text)))
            except ValueError as error:
                faults.append(fault(pointer(*at, name, index), f"{text[:200]!r} cannot be required: {error}."))
        return tuple(sorted(set(read)))

    packages, constraints = lines("packages"), lines("constraints")
    python = None
    if given.python is not None:
        try:
            python = ",".join(sorted(map(str, SpecifierSet(_specified(given.python))))) or None
        except InvalidSpecifier:
            told = f"{given.python[:200]!r} says no version of Python: write it like '>=3.11' or '==3.12.*'."
            faults.append(fault(pointer(*at, "python"), told))
    if faults:
        raise InvalidInput("What the pipeline requires cannot be read.", errors=faults)
    return Requirements(python=python, packages=packages, constraints=constraints)


def _specified(python: str) -> str:
    """`3.11` is what people call all of 3.11.x."""
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", python):
        return f"=={python.strip()}.*"
    return f"=={python.strip()}" if re.fullmatch(r"\s*\d+\.\d+\.\d+\s*", python) else python


def misfits(given: Requirements, python: str, find: Find) -> list[str]:
    """Why an interpreter of this version, with these distributions, does not fit, in words; nothing if it does.

    Every requirement whose marker holds must be there in a version that it takes, with what its extras need, and whatever
    these need in turn must be as the constraints say. Hashes are of files, and nobody kept those: they are looked at when
    an environment is built.
    """
    found = []
    if given.python is not None and not SpecifierSet(given.python).contains(python, prereleases=True):
        found.append(f"it is Python {python}, and {given.python} is required")
    limits: dict[str, list[Requirement]] = {}
    for text in given.constraints:
        one = wanted(text)
        limits.setdefault(one.name, []).append(one.requirement)
    search = _Search(find, limits)
    for text in given.packages:
        search.require(wanted(text).requirement)
    return found + search.misfits


class _Search:
    """Goes from requirements to what is installed, and on to what that needs."""

    def __init__(self, find: Find, limits: Mapping[str, list[Requirement]]) -> None:
        self.misfits: list[str] = []
        self._find = find
        self._limits = limits
        self._seen: set[tuple[str, str]] = set()

    def require(self, requirement: Requirement, extra: str = "") -> None:
        if not _holds(requirement, extra):
            return
        installed = self._find(requirement.name)
        why = _unlike(requirement, installed)
        if why is not None:
            self.misfits.append(why)
        elif installed is not None:
            self._go_on(requirement, installed)

    def _go_on(self, requirement: Requirement, installed: Installed) -> None:
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in self._seen:
                continue
            self._seen.add((name, extra))
            if not extra:
                self.misfits += [why for one in self._limits.get(name, ()) if (why := _outside(one, installed))]
            for needed in _needs(installed):
                plain = _holds(needed, "")
                if extra and not plain:
                    self.require(needed, extra)
                elif not extra and plain and self._limits:
                    self._follow(needed)

    def _follow(self, needed: Requirement) -> None:
        """What an installed one needs is the affair of who installed it, except where a lock says what it must be."""
        installed = self._find(needed.name)
        if installed is not None:
            self._go_on(needed, installed)


def _needs(installed: Installed) -> Iterator[Requirement]:
    for text in installed.needs:
        with suppress(InvalidRequirement):  # as old packages wrote them; no lock names what nobody can read
            yield Requirement(text)


def _holds(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _unlike(requirement: Requirement, installed: Installed | None) -> str | None:
    if installed is None:
        return f"{requirement.name} is not installed"
    if requirement.url is not None and not _same_place(requirement.url, installed.url):
        return f"{requirement.name} was installed from {installed.url or 'an index'}, and {requirement.url} is required"
    return _outside(requirement, installed, holding=True)


def _outside(requirement: Requirement, installed: Installed, *, holding: bool = False) -> str | None:
    applies = holding or _holds(requirement, "")
    if not applies:
        return None
    with suppress(InvalidVersion):
        if requirement.specifier.contains(installed.version, prereleases=True):
            return None
    return f"{requirement.name} {installed.version} is installed, and {requirement.specifier} is required"


def _same_place(required: str, installed: str | None) -> bool:
    return installed is not None and required.partition("#")[0] in (installed, f"git+{installed}")

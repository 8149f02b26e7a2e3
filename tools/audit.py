"""`make audit`: hold what is locked and installed against what is known of it. It cannot pass by looking at nothing.

Four looks, each of which says how many things it has looked at, and fails below a least number:

- lock: every pin has hashes, and every installed distribution is pinned, in that version;
- files: every installed file has the hash that its distribution's own record has of it;
- licences: every installed distribution has one that is allowed here;
- advisories: no pin is in a version range of an advisory. They come from a local copy of OSV's export for PyPI
  (`OSV=/path/to/all.zip make audit`), because an audit that asks the network passes when the network says nothing. Without
  that copy this look has not happened, and the audit fails; `--offline` leaves it out, and says so.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from tools.lock import LOCK, Pin, normal, pins

LEAST_PINS = 100
LEAST_INSTALLED = 80
LEAST_FILES = 5_000
LEAST_ADVISORIES = 5_000

OURS = "penstock"
BOOTSTRAP = {"pip", "setuptools", "wheel"}
"""What a virtual environment brings before the lock is installed."""

ALLOWED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0",
    "PSF-2.0", "Zlib",
}  # fmt: skip

EXCEPTIONS = {
    "kubernetes-validate": "Apache",  # 2.0, as its LICENSE says
    "psycopg": "LGPL-3.0-only",  # linked to as it is, and only with the extra `postgres`
    "psycopg-binary": "LGPL-3.0-only",
}

_WORDS = {
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd license": "BSD",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}

Finding = str


def main(arguments: list[str] | None = None) -> int:
    """Look, tell, and return 1 if anything was found, or if too little was looked at."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit")
    parser.add_argument("--advisories", type=Path, help="OSV's export for PyPI: a zip, or a folder of JSON files")
    parser.add_argument("--offline", action="store_true", help="leave the advisories out")
    options = parser.parse_args(arguments)
    locked = pins(LOCK.read_text())
    installed = [one for one in distributions() if normal(one.name) not in {OURS, *BOOTSTRAP}]
    looks: list[tuple[str, int, Callable[[], tuple[int, list[Finding]]]]] = [
        ("lock", LEAST_PINS, lambda: of_lock(locked, installed)),
        ("files", LEAST_FILES, lambda: of_files(installed)),
        ("licences", LEAST_INSTALLED, lambda: of_licences(installed)),
    ]
    if options.advisories is not None:
        looks.append(("advisories", LEAST_ADVISORIES, lambda: of_advisories(locked, read(options.advisories))))
    bad = False
    for name, least, look in looks:
        count, findings = look()
        if count < least:
            findings.append(f"only {count} things were looked at, {least} at least are expected: this proves nothing")
        bad = bad or bool(findings)
        print(f"{name}: {count} looked at, {len(findings)} found")
        for finding in findings:
            print(f"  {finding}")
    if options.advisories is None:
        print("advisories: NOT looked at; give OSV=/path/to/all.zip, the export of osv.dev for PyPI")
    return int(bad or (options.advisories is None and not options.offline))


def of_lock(locked: list[Pin], installed: Iterable[Distribution]) -> tuple[int, list[Finding]]:
    """Pins without hashes, and installed distributions that are not what is pinned."""
    findings = [f"{one.name} {one.version} has no hash" for one in locked if not one.hashes]
    versions = defaultdict(set)
    for one in locked:
        versions[one.name].add(one.version)
    for found in installed:
        wanted = versions.get(normal(found.name))
        if not wanted:
            findings.append(f"{found.name} {found.version} is installed and not in the lock")
        elif found.version not in wanted:
            findings.append(f"{found.name} {found.version} is installed; the lock has {', '.join(sorted(wanted))}")
    return len(locked), findings


def of_files(installed: Iterable[Distribution]) -> tuple[int, list[Finding]]:
    """Installed files that are not what their distribution says they are."""
    count, findings = 0, []
    for one in installed:
        for file in one.files or ():
            if file.hash is None or file.hash.mode != "sha256":
                continue
            count += 1
            try:
                digest = hashlib.sha256(Path(str(file.locate())).read_bytes()).digest()
            except OSError:
                findings.append(f"{one.name}: {file} is missing")
                continue
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                findings.append(f"{one.name}: {file} was changed")
    return count, findings


def of_licences(installed: Iterable[Distribution]) -> tuple[int, list[Finding]]:
    """Installed distributions with a licence that is not allowed, or with none that can be told."""
    count, findings = 0, []
    for one in installed:
        count += 1
        said = licence(one)
        excepted = EXCEPTIONS.get(normal(one.name))
        if not said:
            findings.append(f"{one.name}: it does not say under which licence it is")
        elif said != excepted and not allowed(said):
            findings.append(f"{one.name}: {said} is not on the list of allowed licences")
    return count, findings


def licence(one: Distribution) -> str:
    """What a distribution says of its licence, as an SPDX expression where that can be made of it; empty if nothing."""
    said = one.metadata.get("License-Expression")
    if said:
        return str(said)
    kinds = [
        str(line).rpartition(" :: ")[2]
        for line in one.metadata.get_all("Classifier") or ()
        if line.startswith("License")
    ]
    words = [_WORDS.get(kind.lower(), kind) for kind in kinds if kind not in ("OSI Approved", "DFSG approved")]
    if not words and one.metadata.get("License"):
        first = str(one.metadata["License"]).strip().splitlines()[0]
        words = [_WORDS.get(first.lower(), first)]
    return " OR ".join(words)


def allowed(expression: str) -> bool:
    """Whether one side of every OR, and each side of every AND, is on the list."""
    choices = re.split(r"\s+OR\s+", expression.replace("(", "").replace(")", ""))
    return any(all(part in ALLOWED for part in re.split(r"\s+AND\s+", choice)) for choice in choices)


def read(export: Path) -> Iterator[dict[str, Any]]:
    """The advisories of an export."""
    if export.is_dir():
        for path in sorted(export.glob("*.json")):
            yield json.loads(path.read_text())
        return
    with zipfile.ZipFile(export) as archive:
        for name in archive.namelist():
            if name.endswith(".json"):
                yield json.loads(archive.read(name))


def of_advisories(locked: list[Pin], advisories: Iterable[dict[str, Any]]) -> tuple[int, list[Finding]]:
    """Pins in a version that an advisory names."""
    versions = defaultdict(set)
    for one in locked:
        versions[one.name].add(one.version)
    count, findings = 0, []
    for advisory in advisories:
        count += 1
        if advisory.get("withdrawn"):
            continue
        for affected in advisory.get("affected", ()):
            package = affected.get("package", {})
            if package.get("ecosystem") != "PyPI":
                continue
            name = normal(package.get("name", ""))
            findings += [
                f"{name} {version}: {advisory['id']} {advisory.get('summary', '')}".rstrip()
                for version in sorted(versions.get(name, ()))
                if concerns(version, affected)
            ]
    return count, findings


def concerns(version: str, affected: dict[str, Any]) -> bool:
    """Whether this version is one of those that are affected, by list or by range."""
    if version in affected.get("versions", ()):
        return True
    return any(
        _inside(version, one.get("events", ())) for one in affected.get("ranges", ()) if one.get("type") == "ECOSYSTEM"
    )


def _inside(version: str, events: Iterable[dict[str, str]]) -> bool:
    try:
        mine, inside = Version(version), False
        for event in events:
            for kind, text in event.items():
                if kind == "introduced":
                    inside = inside or text == "0" or mine >= Version(text)
                elif (kind == "fixed" and mine >= Version(text)) or (kind == "last_affected" and mine > Version(text)):
                    inside = False
    except InvalidVersion:
        return True  # better to be asked than to be passed over
    return inside


if __name__ == "__main__":
    sys.exit(main())

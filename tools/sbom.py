"""`make sbom`: what a release of Penstock may be installed with, as CycloneDX 1.6, from the lock."""

from __future__ import annotations

import json
import re
import sys
import uuid
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from penstock.version import VERSION
from tools.audit import licence
from tools.lock import LOCK, Pin, normal, pins

TARGET = Path("dist/sbom.cdx.json")


def main() -> None:
    """Write it."""
    text = LOCK.read_text()
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(
        json.dumps(document(pins(text), {normal(one.name): one for one in distributions()}), indent=1) + "\n"
    )
    print(f"{TARGET}: {len(pins(text))} components")


def document(locked: list[Pin], installed: dict[str, Distribution]) -> dict[str, Any]:
    """The document. The same lock gives the same one, but for licences and dependencies of what is not installed here."""
    components = [_component(one, installed.get(one.name)) for one in locked]
    mistakes = [one.name for one in locked if not one.hashes]
    if mistakes or not components:
        raise ValueError(f"The lock has no hashes for {mistakes or 'anything'}.")
    ours = f"pkg:pypi/penstock@{VERSION}"
    known = {one.name: _purl(one) for one in locked}
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": "penstock", "version": VERSION, "bom-ref": ours, "purl": ours},
            "tools": {"components": [{"type": "application", "name": "tools.sbom", "version": VERSION}]},
        },
        "components": components,
        "dependencies": [
            {"ref": ours, "dependsOn": _needs(installed.get("penstock"), known)},
            *({"ref": _purl(one), "dependsOn": _needs(installed.get(one.name), known)} for one in locked),
        ],
    }
    content = json.dumps(made, sort_keys=True)
    return {**made, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"}


def _component(pin: Pin, found: Distribution | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library",
        "name": pin.name,
        "version": pin.version,
        "bom-ref": _purl(pin),
        "purl": _purl(pin),
        # One for each file of the distribution that may be installed: its source, and its wheels.
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in pin.hashes],
    }
    said = licence(found) if found is not None else ""
    if said:
        made["licenses"] = [{"expression": said}] if _is_spdx(said) else [{"license": {"name": said}}]
    if pin.marker:
        made["properties"] = [{"name": "penstock:marker", "value": pin.marker}]
    return made


def _is_spdx(text: str) -> bool:
    return (
        text != "BSD"
        and bool(re.fullmatch(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*", text))
        and "BSD " not in f"{text} "
    )


def _needs(found: Distribution | None, known: dict[str, str]) -> list[str]:
    lines = (found.requires or []) if found is not None else []
    names = {normal(Requirement(line).name) for line in lines}
    return sorted(known[name] for name in names & set(known))


def _purl(pin: Pin) -> str:
    return f"pkg:pypi/{pin.name}@{pin.version}"


if __name__ == "__main__":
    sys.exit(main())

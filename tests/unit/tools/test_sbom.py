"""The bill of materials is what CycloneDX 1.6 asks for, and has all that is locked."""

from __future__ import annotations

import json
import re
from importlib.metadata import distributions

import pytest

from tools.lock import LOCK, Pin, normal, pins
from tools.sbom import document

LOCKED = pins(LOCK.read_text())
MADE = document(LOCKED, {normal(one.name): one for one in distributions()})


def test_it_has_the_form() -> None:
    assert MADE["bomFormat"] == "CycloneDX"
    assert MADE["specVersion"] == "1.6"
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", MADE["serialNumber"])
    assert json.loads(json.dumps(MADE)) == MADE
    for one in MADE["components"]:
        assert one["type"] == "library"
        assert re.fullmatch(r"pkg:pypi/[a-z0-9-]+@[\w.+!-]+", one["purl"])
        assert one["hashes"]
        for digest in one["hashes"]:
            assert digest["alg"] == "SHA-256"
            assert re.fullmatch(r"[0-9a-f]{64}", digest["content"])
        for said in one.get("licenses", ()):
            assert set(said) in ({"expression"}, {"license"})


def test_everything_that_is_locked_is_in_it_once_and_all_references_lead_somewhere() -> None:
    references = [one["bom-ref"] for one in MADE["components"]]
    assert len(references) == len(set(references)) == len({(one.name, one.version) for one in LOCKED})
    known = {*references, MADE["metadata"]["component"]["bom-ref"]}
    assert {one["ref"] for one in MADE["dependencies"]} == known
    assert {name for one in MADE["dependencies"] for name in one["dependsOn"]} <= known
    ours = next(one for one in MADE["dependencies"] if one["ref"].startswith("pkg:pypi/penstock@"))
    assert any(name.startswith("pkg:pypi/fastapi@") for name in ours["dependsOn"])


def test_the_same_lock_gives_the_same_document() -> None:
    assert document(LOCKED, {normal(one.name): one for one in distributions()}) == MADE


@pytest.mark.parametrize("locked", [[], [Pin("thing", "1", (), "")]])
def test_a_lock_of_nothing_or_without_hashes_makes_none(locked: list[Pin]) -> None:
    with pytest.raises(ValueError, match="no hashes"):
        document(locked, {})

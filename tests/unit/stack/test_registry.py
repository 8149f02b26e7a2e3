from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from penstock.errors import InvalidInput, Unavailable
from penstock.model.stack import Component
from penstock.stack import registry
from penstock.stack.flavors.file_store import FileStore


class Whatever:
    """A flavor of a kind that has no contract here."""

    def __init__(self, **options: object) -> None:
        self.options = options


@pytest.fixture
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = "tests_of_registry"
    monkeypatch.setitem(sys.modules, here, sys.modules[__name__])
    found = [
        metadata.EntryPoint(name, f"{here}:{attribute}", registry.GROUP)
        for name, attribute in {
            "artifact_store.fake": "Whatever",
            "artifact_store.gone": "NoSuchClass",
            "alerter.any": "Whatever",
            "alerter.number": "GROUP_SIZE",
        }.items()
    ]
    found.append(metadata.EntryPoint("alerter.missing", "no_such_module_at_all:Store", registry.GROUP))
    monkeypatch.setattr(metadata, "entry_points", lambda group: found if group == registry.GROUP else [])
    registry._plug_ins.cache_clear()
    yield
    registry._plug_ins.cache_clear()


GROUP_SIZE = 3


def test_a_built_in_flavor_is_made_with_its_options(tmp_path: Path) -> None:
    built = registry.build("artifact_store", Component(flavor="file", options={"path": str(tmp_path)}))
    assert isinstance(built, FileStore)


def test_a_plug_in_of_any_kind(plug_ins: None) -> None:
    built = registry.build("alerter", Component(flavor="any", options={"address": "here"}))
    assert isinstance(built, Whatever)
    assert built.options == {"address": "here"}


def test_all_flavors_are_listed(plug_ins: None) -> None:
    assert registry.flavors() == {
        "deployer": ["docker", "kubernetes", "local"],
        "orchestrator": ["local"],
        "artifact_store": ["fake", "file", "gone", "object"],
        "image_builder": ["docker"],
        "container_registry": ["docker"],
        "secret_store": ["file"],
        "alerter": ["any", "missing", "number"],
    }


def test_an_unknown_kind_names_the_kinds(plug_ins: None) -> None:
    with pytest.raises(InvalidInput) as raised:
        registry.find("artefact_store", "file")
    (problem,) = raised.value.errors
    assert problem["pointer"] == "/artefact_store"
    assert problem["allowed"] == [*registry._CONTRACTS, "alerter"]
    assert problem["did_you_mean"] == "artifact_store"


def test_an_unknown_flavor_names_the_flavors(plug_ins: None) -> None:
    with pytest.raises(InvalidInput) as raised:
        registry.find("artifact_store", "files")
    (problem,) = raised.value.errors
    assert problem["pointer"] == "/artifact_store/flavor"
    assert problem["allowed"] == ["fake", "file", "gone", "object"]
    assert problem["did_you_mean"] == "file"


def test_unknown_and_missing_options_are_all_named() -> None:
    with pytest.raises(InvalidInput) as raised:
        registry.build("artifact_store", Component(flavor="file", options={"pathh": "/a", "mode": 1}))
    problems = {problem["pointer"]: problem for problem in raised.value.errors}
    assert set(problems) == {
        "/artifact_store/options/pathh",
        "/artifact_store/options/mode",
        "/artifact_store/options/path",
    }
    assert problems["/artifact_store/options/pathh"]["did_you_mean"] == "path"
    assert problems["/artifact_store/options/mode"]["allowed"] == ["path"]


@pytest.mark.parametrize(
    ("kind", "flavor", "says"),
    [
        ("alerter", "missing", "no_such_module_at_all"),
        ("artifact_store", "gone", "NoSuchClass"),
        ("alerter", "number", "not a class"),
        ("artifact_store", "fake", "does not keep the contract"),
    ],
)
def test_a_broken_plug_in_says_what_is_wrong(plug_ins: None, kind: str, flavor: str, says: str) -> None:
    with pytest.raises(Unavailable, match=says):
        registry.build(kind, Component(flavor=flavor))


def test_the_built_in_flavors_are_declared_like_any_other() -> None:
    declared = {entry.name: entry.value for entry in metadata.entry_points(group=registry.GROUP)}
    if declared:  # absent where the source tree is used without being installed
        assert declared.items() >= registry._BUILT_IN.items()


def test_built_in_flavors_are_found_without_reading_entry_points(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from penstock.stack.registry import build\nfrom penstock.model.stack import Component\n"
        f"build('artifact_store', Component(flavor='file', options={{'path': {str(tmp_path)!r}}}))\n"
        "assert 'importlib.metadata' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


def test_what_a_component_needs_where_it_is_used(plug_ins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.requirements("artifact_store", Component(flavor="file", options={"path": "/x"})) == ()
    for url, extra in (("s3://bucket", "s3"), ("gs://bucket", "gcs"), ("az://box", "azure")):
        component = Component(flavor="object", options={"url": url})
        assert registry.requirements("artifact_store", component) == (f"penstock[{extra}]",)
    assert registry.requirements("artifact_store", Component(flavor="fake")) == ()
    [entry] = [one for one in metadata.entry_points(group=registry.GROUP) if one.name == "artifact_store.fake"]
    monkeypatch.setattr(type(entry), "dist", metadata.distribution("pytest"))
    assert registry.requirements("artifact_store", Component(flavor="fake")) == (f"pytest=={pytest.__version__}",)
    with pytest.raises(InvalidInput, match="no flavor"):
        registry.requirements("artifact_store", Component(flavor="nothing"))

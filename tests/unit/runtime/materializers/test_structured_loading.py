from __future__ import annotations

import dataclasses
import enum
import sys
from pathlib import Path
from typing import Any

import pydantic
import pytest

from penstock.errors import ArtifactError
from penstock.ids import digest_of
from penstock.model.artifact import Artifact, File


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Config:
    rate: float
    layers: tuple[int, ...] = ()


@dataclasses.dataclass
class Thing:
    name: str


class Base(pydantic.BaseModel):
    name: str


def artifact_of(shelf: Any, text: str) -> Artifact:
    """A crafted artifact: what somebody with access to the store could write."""
    data = text.encode()
    shelf.store.put(data)
    template = shelf.save({"a": 1})
    file = File(name="value.json", digest=digest_of(data), size=len(data))
    return dataclasses.replace(template, files=(file,), digest=file.digest, size=file.size)


def test_classes_are_never_imported(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "canary_module.py").write_text(f"open({str(tmp_path / 'sang')!r}, 'w')\nclass Bird: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    artifact = artifact_of(shelf, '{"$type":"dataclass","class":"canary_module:Bird","value":{}}')
    with pytest.raises(ArtifactError, match="Import it from 'canary_module'"):
        shelf.load(artifact)
    assert not (tmp_path / "sang").exists()
    assert "canary_module" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        '{"$type":"dataclass","class":"subprocess:Popen","value":{"args":["true"]}}',
        '{"$type":"model","class":"threading:Thread","value":{}}',
        '{"$type":"enum","class":"builtins:object","value":{"name":"x"}}',
        '{"$type":"namedtuple","class":"os:system","value":{}}',
        '{"$type":"os.system","value":"true"}',
        '{"$type":"subprocess.Popen","value":["true"]}',
        '{"$type":"eval","value":"1"}',
        '{"$type":"part","materializer":"pickle","at":""}',
        '{"$type":"part","materializer":"numpy","at":"nowhere/"}',
        '{"$type":"tuple"}',
        '{"$type":["tuple"],"value":[]}',
        '{"$type":"datetime.date","value":"yesterday"}',
        '{"$type":"int","value":"0xzz"}',
        "[1,",
        "\xff",
    ],
)
def test_hostile_and_broken_texts_are_errors(shelf: Any, text: str) -> None:
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        shelf.load(artifact_of(shelf, text))


def test_a_type_hint_takes_the_place_of_a_class_that_is_not_here(shelf: Any) -> None:
    artifact = artifact_of(
        shelf, '{"$type":"dataclass","class":"gone:Config","value":{"rate":0.5,"layers":{"$type":"tuple","value":[1]}}}'
    )
    assert shelf.load(artifact, type_hint=Config).layers == (1,)
    assert shelf.load(artifact, type_hint=dict[str, Any]) == {"rate": 0.5, "layers": (1,)}
    with pytest.raises(ArtifactError, match="does not fit"):
        shelf.load(artifact, type_hint=Base)


def test_plain_data_becomes_the_record_that_is_wanted(shelf: Any) -> None:
    artifact = shelf.save({"rate": 0.5, "layers": [1]})
    assert shelf.load(artifact, type_hint=Config) == Config(0.5, (1,))
    assert shelf.load(artifact, type_hint=dict) == {"rate": 0.5, "layers": [1]}
    assert shelf.load(artifact, type_hint="unresolved") == {"rate": 0.5, "layers": [1]}
    with pytest.raises(ArtifactError, match="does not fit"):
        shelf.load(shelf.save({"rates": 1}), type_hint=Config)


def test_a_class_with_other_fields_decides_for_itself(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = shelf.save(Thing("a"))

    @dataclasses.dataclass
    class Newer:
        name: str
        size: int = 3

    monkeypatch.setattr(sys.modules[__name__], "Thing", Newer)
    back = shelf.load(artifact)
    assert back == Newer("a", 3)

    @dataclasses.dataclass
    class Other:
        title: str

    monkeypatch.setattr(sys.modules[__name__], "Thing", Other)
    with pytest.raises(ArtifactError, match="name"):
        shelf.load(artifact)


def test_an_enum_that_lost_its_member_says_so(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = shelf.save(Color.RED)

    class Fewer(enum.Enum):
        BLUE = 1

    monkeypatch.setattr(sys.modules[__name__], "Color", Fewer)
    with pytest.raises(ArtifactError, match="RED"):
        shelf.load(artifact)

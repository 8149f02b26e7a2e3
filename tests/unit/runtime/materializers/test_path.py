from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.errors import ArtifactError
from penstock.ids import digest_of
from penstock.model.artifact import Artifact, File, artifact_digest


def crafted(shelf: Any, files: dict[str, bytes]) -> Artifact:
    """What somebody who can write records and blobs could make up."""
    made = []
    for name, data in files.items():
        shelf.store.put(data)
        made.append(File(name=name, digest=digest_of(data), size=len(data)))
    template = shelf.save(Path(__file__))
    return dataclasses.replace(template, files=tuple(made), digest=artifact_digest(made))


def test_a_file_comes_back_with_its_name(shelf: Any, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(2_000_000))
    artifact = shelf.save(source)
    assert (artifact.materializer, artifact.code_bearing) == ("path", False)
    assert [file.name for file in artifact.files] == ["model.bin"]
    assert artifact.metadata == {"name": "model.bin", "kind": "file"}
    source.write_bytes(b"changed")
    back = shelf.load(artifact)
    assert back.name == "model.bin"
    assert back != source
    assert back.stat().st_size == 2_000_000
    assert shelf.load(artifact) != back


def test_a_folder_comes_back_with_everything_in_it(shelf: Any, tmp_path: Path) -> None:
    top = tmp_path / "data"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "deep" / "er" / "a.txt").write_text("a")
    (top / "run.sh").write_text("#!")
    (top / "run.sh").chmod(0o755)
    (top / ".folder").mkdir()
    (top / ".folder" / "facts.json").write_text("theirs")
    (tmp_path / "outside").write_text("linked")
    (top / "link").symlink_to(tmp_path / "outside")
    (top / "linked").symlink_to(top / "deep" / "er")
    artifact = shelf.save(top)
    assert artifact.metadata["files"] == 5
    back = shelf.load(artifact)
    assert back.name == "data"
    found = {one.relative_to(back).as_posix(): one.read_text() for one in back.rglob("*") if one.is_file()}
    assert found == {
        "deep/er/a.txt": "a",
        "linked/a.txt": "a",
        "run.sh": "#!",
        "link": "linked",
        ".folder/facts.json": "theirs",
    }
    assert (back / "empty").is_dir()
    assert not (back / "link").is_symlink()
    assert os.access(back / "run.sh", os.X_OK)
    assert not os.access(back / "link", os.X_OK)
    (back / "link").write_text("mine to change")


def test_an_empty_folder_comes_back(shelf: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert list(shelf.load(shelf.save(tmp_path / "empty")).iterdir()) == []


def test_the_current_folder_has_a_name(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "below").mkdir(parents=True)
    (tmp_path / "here" / "file").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    assert (shelf.load(shelf.save(Path())) / "file").read_text() == "x"
    monkeypatch.chdir(tmp_path / "here" / "below")
    back = shelf.load(shelf.save(Path("..")))
    assert back.name == "here"
    assert (back / "file").read_text() == "x"


def test_nothing_there_is_a_mistake(shelf: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        shelf.save(tmp_path / "nothing")


def test_what_has_no_content_is_a_mistake(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("folder/socket")
        with pytest.raises(ArtifactError, match="neither a file nor a folder"):
            shelf.save(Path("folder/socket"))
        with pytest.raises(ArtifactError, match="neither a file nor a folder"):
            shelf.save(Path("folder"))


def test_a_circle_of_links_has_an_end(shelf: Any, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    with pytest.raises(ArtifactError, match="lies in"):
        shelf.save(tmp_path / "a")


def test_a_broken_link_is_a_mistake(shelf: Any, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(ArtifactError, match="link"):
        shelf.save(tmp_path / "a")


def test_a_name_that_is_no_text_is_a_mistake(shelf: Any, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text("x")
    with pytest.raises(ArtifactError, match="rename"):
        shelf.save(folder)


def facts(**given: Any) -> bytes:
    return msgspec.json.encode({"name": "top", "folders": [], "executable": [], **given})


@pytest.mark.parametrize(
    "files",
    [
        {"../escaped": b"x"},
        {"/tmp/escaped": b"x"},
        {"..": b"x"},
        {".folder/facts.json": facts(name="../escaped")},
        {".folder/facts.json": facts(name="/tmp/escaped")},
        {".folder/facts.json": facts(), "top/../../escaped": b"x"},
        {".folder/facts.json": facts(folders=["../../escaped"])},
        {".folder/facts.json": facts(executable=["../../escaped"])},
        {".folder/facts.json": b"{}"},
        {"one": b"x", "two": b"x"},
    ],
    ids=str,
)
def test_no_name_leads_out_of_the_folder(shelf: Any, tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        shelf.load(crafted(shelf, files))
    assert list(tmp_path.glob("**/escaped")) == []
    assert not Path("/tmp/escaped").exists()


def test_copies_go_when_the_process_ends(shelf: Any, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("x")
    script = (
        "import os\n"
        "from pathlib import Path\n"
        "from penstock.runtime.materializers import load, save\n"
        "from penstock.stack.flavors.file_store import FileStore\n"
        f"store = FileStore({str(tmp_path / 'store')!r})\n"
        f"artifact = save(Path({str(tmp_path / 'source')!r}), store, id='i', run_id=None, step=None, output=None)\n"
        "copy = load(artifact, store, allow_code=False)\n"
        "assert copy.read_text() == 'x'\n"
        "child = os.fork()\n"
        "if not child:\n    raise SystemExit\n"
        "os.waitpid(child, 0)\n"
        "assert copy.exists(), 'a forked child removed it'\n"
        "print(copy)\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    copy = Path(found.stdout.strip())
    assert copy.is_relative_to(tmp_path)
    assert not copy.parent.exists()

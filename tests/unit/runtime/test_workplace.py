from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.author.archive import Archive, pack
from penstock.errors import InvalidInput, SourceNotFound
from penstock.ids import new_id
from penstock.model.launch import Ticket
from penstock.model.stack import Component
from penstock.runtime import workplace


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """A project with modules, data and a script."""
    project = tmp_path / "project"
    (project / "data" / "deep").mkdir(parents=True)
    (project / "package").mkdir()
    (project / "work.py").write_text("X = 1\n")
    (project / "package" / "__init__.py").touch()
    (project / "data" / "table.csv").write_text("a,b\n1,2\n")
    (project / "data" / "deep" / "more.txt").write_text("more")
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "run.sh").chmod(0o755)
    return pack(project)


@pytest.fixture
def code(archive: Archive, home: Path) -> Path:
    """The project in the code cache of the home."""
    return workplace.code_directory(archive.digest, home=str(home), fetch=archive.tar)


def ticket(home: Path, code: str | None) -> Ticket:
    return Ticket(
        run_id=new_id(),
        run_name="lucid-lynx",
        fence=1,
        pipeline="p",
        source="work:p",
        code=code,
        parameters={},
        step_parameters={},
        artifact_store=Component(flavor="file"),
        server="unix:/nowhere",
        token="secret",
        home=str(home),
        lease=1.0,
        grace=1.0,
    )


def test_code_is_fetched_once(archive: Archive, home: Path) -> None:
    fetched = []

    def fetch() -> bytes:
        fetched.append(1)
        return archive.tar()

    first, second = (workplace.code_directory(archive.digest, home=str(home), fetch=fetch) for _ in range(2))
    assert first == second == home / "cache" / "code" / archive.digest
    assert (first / "data" / "table.csv").read_text() == "a,b\n1,2\n"
    assert len(fetched) == 1


def test_code_that_came_damaged_is_not_kept(archive: Archive, home: Path) -> None:
    with pytest.raises(InvalidInput, match="damaged"):
        workplace.code_directory(archive.digest, home=str(home), fetch=lambda: archive.tar()[:-1] + b"x")
    assert workplace.code_directory(archive.digest, home=str(home), fetch=archive.tar).is_dir()


def test_code_comes_first_on_the_path(
    home: Path, code: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", ["/elsewhere"])
    assert workplace.enter_code(ticket(home, archive.digest)) == code.resolve()
    assert __import__("sys").path == [str(code.resolve()), "/elsewhere"]


def test_a_run_without_code_cannot_be_entered(home: Path) -> None:
    with pytest.raises(SourceNotFound, match="lucid-lynx has no archived code"):
        workplace.enter_code(ticket(home, None))


def test_a_working_directory_looks_like_the_code(home: Path, code: Path) -> None:
    (code / "__pycache__").mkdir()
    with workplace.working_directory(str(home), "one", code) as place:
        assert place == home / "work" / "one"
        assert place.stat().st_mode & 0o777 == 0o700
        assert sorted(str(one.relative_to(place)) for one in place.rglob("*")) == [
            "data",
            "data/deep",
            "data/deep/more.txt",
            "data/table.csv",
            "package",
            "package/__init__.py",
            "run.sh",
            "work.py",
        ]
        assert os.access(place / "run.sh", os.X_OK)
        assert (place / "work.py").resolve() == (code / "work.py").resolve()
    assert not place.exists()


def test_what_is_written_stays_private(home: Path, code: Path) -> None:
    with workplace.working_directory(str(home), "one", code) as place:
        with (place / "data" / "table.csv").open("a") as file:
            file.write("3,4\n")
        (place / "data" / "new.txt").touch()
        (place / "package" / "cache.bin").touch()
    assert (code / "data" / "table.csv").read_text() == "a,b\n1,2\n"
    assert sorted(one.name for one in (code / "data").iterdir()) == ["deep", "table.csv"]
    assert sorted(one.name for one in (code / "package").iterdir()) == ["__init__.py"]


def test_a_working_directory_is_fresh_and_goes_whatever_was_done_to_it(home: Path, code: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    place = home / "work" / "one"
    place.mkdir(parents=True)
    (place / "leftover").touch()
    with workplace.working_directory(str(home), "one", code):
        assert not (place / "leftover").exists()
        (place / "away").symlink_to(outside)
        (place / "locked" / "inner").mkdir(parents=True)
        (place / "locked" / "inner" / "file").touch()
        (place / "locked" / "inner" / "file").chmod(0o400)
        (place / "locked" / "inner").chmod(0o500)
        (place / "locked").chmod(0)
        place.chmod(0o500)
    assert not place.exists()
    assert (outside / "precious").exists()
    assert outside.stat().st_mode & 0o700 == 0o700


def test_a_working_directory_that_became_a_link_is_only_unlinked(home: Path, code: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with workplace.working_directory(str(home), "one", code) as place:
        workplace.remove(place)
        place.symlink_to(tmp_path)
    assert not place.is_symlink()
    assert (tmp_path / "precious").exists()


def test_a_working_directory_that_the_run_removed_is_no_problem(home: Path, code: Path) -> None:
    with workplace.working_directory(str(home), "one", code) as place:
        workplace.remove(place)


def test_a_run_works_and_winds_up_in_its_directory(
    home: Path, code: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    mine, places = ticket(home, archive.digest), []

    def run(given: Ticket) -> int:
        assert given is mine
        places.append(Path.cwd())
        return 7

    assert workplace.carry_out(mine, code, run, lambda: places.append(Path.cwd())) == 7
    assert places == [home / "work" / mine.run_id] * 2
    assert os.environ["PENSTOCK_HOME"] == str(home)
    assert not places[0].exists()


def test_leftovers_are_removed_at_a_start(home: Path) -> None:
    workplace.remove_all(str(home))
    (home / "work" / "dead" / "deep").mkdir(parents=True)
    (home / "work" / "file").touch()
    workplace.remove_all(str(home))
    assert list((home / "work").iterdir()) == []

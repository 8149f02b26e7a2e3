from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from penstock import pipeline, step
from penstock.author.freeze import freeze
from penstock.author.requirements import required
from penstock.errors import AuthoringError
from penstock.model.requirements import Requirements
from penstock.model.snapshot import snapshot_id


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The file of a pipeline, two folders deep in its project."""
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "src" / "package"
    folder.mkdir(parents=True)
    (folder / "flow.py").write_text("")
    return folder / "flow.py"


def write(path: Path, text: str) -> Path:
    path.write_text(dedent(text))
    return path


def test_nothing_said_is_nothing_required(script: Path) -> None:
    write(script.with_name("requirements.txt"), "pandas")
    write(script.with_name("pyproject.toml"), "[project]\nname = 'x'\n")
    assert required(None, None, script) is None
    assert required(None, None, None) is None


def test_what_is_said_over_the_pipeline(script: Path) -> None:
    assert required(["b", "a==1"], ">=3.11", script) == Requirements(python=">=3.11", packages=("a==1", "b"))
    assert required("pandas>=2", None, None) == Requirements(packages=("pandas>=2",))
    assert required(None, "3.11", None) == Requirements(python="==3.11.*")


def test_mistakes_are_told_with_their_place() -> None:
    with pytest.raises(AuthoringError) as caught:
        required(["fine", "pandas=1"], "new", None)
    assert [one["pointer"] for one in caught.value.errors] == ["/requirements/1", "/python"]
    with pytest.raises(AuthoringError, match="texts"):
        required([1], None, None)  # type: ignore[list-item]


class TestFilesForPip:
    def test_lines_comments_and_other_files(self, script: Path) -> None:
        root = script.parents[2]
        write(root / "base.txt", "b==2\n")
        write(root / "limits.txt", "c==3\n")
        text = f"""
            # what it needs
            a==1 \\
                --hash=sha256:{"0" * 64}  # so be it
            -r base.txt
            --constraint=limits.txt
            """
        write(root / "requirements.txt", text)
        found = required("requirements.txt", None, script)
        assert found == Requirements(packages=(f"a==1 --hash=sha256:{'0' * 64}", "b==2"), constraints=("c==3",))

    @pytest.mark.parametrize("line", ["-e .", "--index-url https://x", "--find-links=/x", "-x"])
    def test_options_that_cannot_be_frozen_are_refused(self, script: Path, line: str) -> None:
        write(script.with_name("needs.txt"), f"a\n{line}\n")
        with pytest.raises(AuthoringError, match="line 2"):
            required("needs.txt", None, script)

    def test_files_in_circles_and_files_that_are_not_there(self, script: Path) -> None:
        write(script.with_name("one.txt"), "-r two.txt\n")
        write(script.with_name("two.txt"), "-r one.txt\n")
        with pytest.raises(AuthoringError, match="names itself"):
            required("one.txt", None, script)
        with pytest.raises(AuthoringError, match="There is no file"):
            required("none.txt", None, script)

    def test_no_folder_above_the_repository_is_looked_into(self, script: Path, tmp_path: Path) -> None:
        (tmp_path / ".git").rename(script.parent / ".git")
        write(tmp_path / "requirements.txt", "a")
        with pytest.raises(AuthoringError, match="There is no file"):
            required("requirements.txt", None, script)


BLOCK = """
    # /// script
    # requires-python = ">=3.11"
    # dependencies = [
    #   "tiny==1",
    # ]
    # ///
    """


class TestScripts:
    def test_the_block_holds_unless_something_is_said(self, script: Path) -> None:
        write(script, BLOCK)
        assert required(None, None, script) == Requirements(python=">=3.11", packages=("tiny==1",))
        assert required(None, ">=3.12", script) == Requirements(python=">=3.12", packages=("tiny==1",))
        assert required(["other"], None, script) == Requirements(packages=("other",))
        assert required(str(script), None, None) == Requirements(python=">=3.11", packages=("tiny==1",))

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("# /// script\n# dependencies = [\n# ///\n", "no TOML"),
            (dedent(BLOCK) + "\n" + dedent(BLOCK), "2 blocks"),
            ("# /// script\n# dependencies = ['a']\n# [tool.uv.sources]\n# a = {path = 'x'}\n# ///\n", "sources"),
        ],
    )
    def test_a_block_that_cannot_be_frozen_is_refused(self, script: Path, text: str, told: str) -> None:
        write(script, text)
        with pytest.raises(AuthoringError, match=told):
            required(None, None, script)

    def test_a_file_without_a_block(self, script: Path) -> None:
        with pytest.raises(AuthoringError, match="no block"):
            required("flow.py", None, script)


PROJECT = """
    [project]
    name = "My_Project"
    requires-python = ">=3.11"
    dependencies = ["tiny==1"]
    [project.optional-dependencies]
    all = ["my-project[gpu,cpu]"]
    gpu = ["fast>=2"]
    cpu = ["slow"]
    """


class TestProjects:
    def test_dependencies_extras_and_python(self, script: Path) -> None:
        write(script.parents[2] / "pyproject.toml", PROJECT)
        assert required("pyproject.toml", None, script) == Requirements(python=">=3.11", packages=("tiny==1",))
        found = required("pyproject.toml[all]", None, script)
        assert found is not None
        assert found.packages == ("fast>=2", "slow", "tiny==1")
        with pytest.raises(AuthoringError) as caught:
            required("pyproject.toml[gpux]", None, script)
        assert caught.value.errors[0]["did_you_mean"] == "gpu"

    def test_the_lock_beside_it_is_taken(self, script: Path) -> None:
        root = script.parents[2]
        write(root / "pyproject.toml", PROJECT)
        locked = """
            version = 1
            [[package]]
            name = "my-project"
            version = "0.1"
            source = { editable = "." }
            [[package]]
            name = "tiny"
            version = "1"
            source = { registry = "https://index.example/simple" }
            [[package]]
            name = "below"
            version = "2"
            resolution-markers = ["python_full_version < '3.12'"]
            source = { registry = "https://index.example/simple" }
            """
        write(root / "uv.lock", locked)
        found = required("pyproject.toml", None, script)
        assert found is not None
        assert found.constraints == ('below==2; python_full_version < "3.12"', "tiny==1")
        write(
            root / "uv.lock", locked.replace('{ registry = "https://index.example/simple" }', '{ git = "https://x" }')
        )
        with pytest.raises(AuthoringError, match="no index"):
            required("pyproject.toml", None, script)
        (root / "uv.lock").unlink()
        write(root / "pylock.toml", "lock-version = '1.0'\n[[packages]]\nname = 'tiny'\nversion = '1'\n")
        found = required("pyproject.toml", None, script)
        assert found is not None
        assert found.constraints == ("tiny==1",)
        with pytest.raises(AuthoringError, match="name its pyproject"):
            required("pylock.toml", None, script)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("[tool.poetry]\n", "no table"),
            ("[project]\nname = 'x'\ndynamic = ['dependencies']\n", "dynamic"),
            ("[project]\ndependencies = ['a']\n[tool.uv.sources]\na = {path = 'x'}\n", "sources"),
            ("[project\n", "no TOML"),
        ],
    )
    def test_a_project_that_cannot_be_frozen_is_refused(self, script: Path, text: str, told: str) -> None:
        write(script.with_name("pyproject.toml"), text)
        with pytest.raises(AuthoringError, match=told):
            required("pyproject.toml", None, script)


@step
def one() -> int:
    return 1


@pipeline(name="plain")
def plain() -> object:
    return one()


@pipeline(name="plain", requirements=["pytest"], python=">=3.11")
def needing() -> object:
    return one()


class TestFrozen:
    def test_a_snapshot_knows_what_it_requires(self) -> None:
        assert freeze(plain).content.environment.requires is None
        wanted = Requirements(python=">=3.11", packages=("pytest",))
        assert freeze(needing).content.environment.requires == wanted
        assert needing.configuration == plain.configuration

    def test_with_options_says_otherwise(self) -> None:
        changed = needing.with_options(requirements=["other"], tags="x")
        assert freeze(changed).content.environment.requires == Requirements(python=">=3.11", packages=("other",))
        assert (
            freeze(needing.with_options(tags="x")).content.environment.requires
            == freeze(needing).content.environment.requires
        )
        assert freeze(plain.with_options(python="3.11")).content.environment.requires == Requirements(python="==3.11.*")

    def test_it_is_part_of_the_id(self) -> None:
        other = needing.with_options(requirements=["other"])
        assert snapshot_id(freeze(needing).content) != snapshot_id(freeze(other).content)

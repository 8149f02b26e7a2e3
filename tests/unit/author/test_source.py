from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from penstock import pipeline, step
from penstock.author import source as sourcing
from penstock.author.source import load_source, locate, source_of
from penstock.errors import SourceNotFound

FLOW = """
from penstock import pipeline, step

@step
def one() -> int:
    return 1

@pipeline
def flow():
    return one()

@pipeline(name="other-name")
def _made():
    return one()

renamed = _made
del _made

def plain():
    pass
"""


@step
def here() -> None: ...


@pipeline
def flow() -> None: ...


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a script and a package."""
    project = tmp_path / "project"
    (project / "src_pkg" / "deep").mkdir(parents=True)
    (project / "src_flow.py").write_text(FLOW)
    (project / "src_pkg" / "__init__.py").write_text(FLOW)
    (project / "src_pkg" / "deep" / "__init__.py").touch()
    (project / "src_pkg" / "deep" / "train.py").write_text("from src_pkg import one\n" + FLOW)
    (project / "src_broken.py").write_text("import nothing_of_this_name\n")
    (project / "src_failing.py").write_text("def deep():\n    1 / 0\ndeep()\n")
    return project


class TestSourceOf:
    def test_module_and_attribute(self) -> None:
        assert source_of(here) == f"{__name__}:here"
        assert source_of(flow) == f"{__name__}:flow"
        assert source_of(source_of) == "penstock.author.source:source_of"

    def test_the_name_that_the_module_has_for_it(self, root: Path) -> None:
        found = load_source("src_flow:renamed", root)
        assert found.name == "other-name"
        assert source_of(found) == "src_flow:renamed"


class TestLocate:
    def test_a_module_lies_in_the_directory_of_its_file(self, root: Path) -> None:
        location = locate(load_source("src_flow:flow", root))
        assert (location.source, location.root, location.note) == ("src_flow:flow", root, None)

    @pytest.mark.parametrize("module", ["src_pkg", "src_pkg.deep.train"])
    def test_a_package_lies_in_the_directory_that_holds_it(self, root: Path, module: str) -> None:
        location = locate(load_source(f"{module}:flow", root))
        assert (location.source, location.root) == (f"{module}:flow", root)

    def test_namespace_packages(self, root: Path) -> None:
        (root / "src_space").mkdir()
        (root / "src_space" / "train.py").write_text(FLOW)
        assert locate(load_source("src_space.train:flow", root)).root == root

    @pytest.mark.parametrize("arguments", [["src_flow.py"], ["-m", "src_flow"], ["-m", "src_pkg.deep.train"]])
    def test_what_runs_as_main(self, root: Path, arguments: list[str]) -> None:
        show = (
            "\nfrom penstock.author.source import locate\nprint(locate(flow).source, locate(flow).root, one.source)\n"
        )
        for file in (root / "src_flow.py", root / "src_pkg" / "deep" / "train.py"):
            file.write_text(file.read_text() + "if __name__ == '__main__':" + show.replace("\n", "\n    "))
        done = subprocess.run(
            [sys.executable, *arguments], cwd=root, check=True, capture_output=True, text=True, env=_environment()
        )
        module = arguments[-1].removesuffix(".py")
        assert done.stdout.split() == [f"{module}:flow", str(root), f"{module}:one"]

    def test_a_session_has_no_files(self) -> None:
        code = FLOW + "\nfrom penstock.author.source import locate\nprint(locate(flow))"
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=_environment()
        )
        assert "source='__main__:flow', root=None" in done.stdout
        assert "typed into a session or a notebook" in done.stdout

    def test_a_pipeline_made_inside_a_function(self) -> None:
        @pipeline
        def local() -> None: ...

        assert locate(local).root is None
        assert "made inside a function" in str(locate(local).note)

    @pytest.mark.parametrize("place", ["home", "above home", "temporary"])
    def test_places_where_projects_lie_next_to_everything_else(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        found = load_source("src_flow:flow", root)
        if place == "temporary":
            monkeypatch.setattr(sourcing.tempfile, "gettempdir", lambda: str(root))
        else:
            monkeypatch.setenv("HOME", str(root if place == "home" else root / "someone"))
        location = locate(found)
        assert location.root is None
        assert str(root) in str(location.note)
        assert "directory of its own" in str(location.note)

    def test_installed_packages(self, root: Path, tmp_path: Path) -> None:
        place = tmp_path / "lib" / "site-packages"
        place.mkdir(parents=True)
        (place / "src_installed.py").write_text(FLOW)
        location = locate(load_source("src_installed:flow", place))
        assert location.root is None
        assert "installed package" in str(location.note)

        import json

        assert "installed package" in str(locate(json.dumps).note)

    def test_a_module_whose_name_does_not_follow_from_its_file(self, root: Path) -> None:
        module = ModuleType("src_other.name")
        module.__file__ = str(root / "src_flow.py")
        sys.modules["src_other.name"] = module
        exec(FLOW, vars(module))
        location = locate(vars(module)["flow"])
        assert location.root is None
        assert "was imported as 'src_other.name'" in str(location.note)


class TestLoadSource:
    @pytest.mark.parametrize(
        "source",
        [
            "src_flow:flow",
            "src_flow.flow",
            "src_flow.py:flow",
            "./src_flow.py:flow",
            "src_pkg:flow",
            "src_pkg.flow",
            "src_pkg.deep.train:flow",
            "src_pkg.deep.train.flow",
            "src_pkg/deep/train.py:flow",
            "src_pkg/__init__.py:flow",
        ],
    )
    def test_all_ways_to_write_it(self, root: Path, source: str) -> None:
        found = load_source(source, root)
        assert found.name == "flow"
        assert locate(found).root == root

    def test_the_current_directory_is_the_default(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(root)
        assert load_source("src_flow:flow").name == "flow"
        assert sys.path[0] == str(root)
        load_source("src_flow:renamed")
        assert sys.path.count(str(root)) == 1

    def test_an_absolute_path_needs_no_directory(self, root: Path) -> None:
        assert load_source(f"{root}/src_flow.py:flow").name == "flow"

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("src_flow", "names no pipeline. Write module:attribute"),
            ("src_flow:", "names no pipeline"),
            (":flow", "names no pipeline"),
            ("", "names no pipeline"),
            ("src_flow.py", "names no pipeline"),
            ("src_flw:flow", r"There is no module 'src_flw' in .*Did you mean 'src_flow'\?"),
            ("src_pkg.dep:flow", "There is no module 'src_pkg.dep'"),
            ("src_pkgg.deep:flow", r"no module 'src_pkgg.deep'.*Did you mean 'src_pkg'\?"),
            ("src_flw.py:flow", r"There is no Python file .*src_flw.py\. Did you mean 'src_flow'\?"),
            ("src_flow:flwo", r"has no 'flwo'\. Did you mean 'flow'\? Pipelines there: flow, renamed\."),
            ("src_flow:one", r"'src_flow:one' is a step, not a pipeline.*Pipelines there: flow, renamed"),
            ("src_flow:plain", "is no pipeline but function: put @pipeline over the function"),
            ("src_flow:flow.more", "has no 'flow.more'"),
        ],
    )
    def test_what_is_not_there(self, root: Path, source: str, message: str) -> None:
        with pytest.raises(SourceNotFound, match=f"(?s){message}"):
            load_source(source, root)

    def test_what_the_module_raises_passes_through(self, root: Path) -> None:
        with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
            load_source("src_broken:flow", root)
        with pytest.raises(ZeroDivisionError) as caught:
            load_source("src_failing:flow", root)
        assert caught.traceback[-1].path == root / "src_failing.py"

    def test_a_name_that_another_module_has(self, root: Path) -> None:
        (root / "json.py").write_text(FLOW)
        with pytest.raises(SourceNotFound, match=r"The name 'json' is taken by another module.*Rename the file"):
            load_source("json:flow", root)

    def test_a_directory_that_is_younger_than_the_interpreter_knows(self, tmp_path: Path) -> None:
        for name in ("src_young_a", "src_young_b"):
            (tmp_path / f"{name}.py").write_text(FLOW)
            assert load_source(f"{name}:flow", tmp_path).name == "flow"


def _environment() -> dict[str, Any]:
    return {"PYTHONPATH": str(Path(sourcing.__file__).parents[2]), "PATH": "/usr/bin"}

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from penstock.author.archive import pack
from penstock.author.ignoring import Ignoring
from penstock.errors import AuthoringError


def project(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def packed(root: Path) -> list[str]:
    return [file.path for file in pack(root).files]


def test_ignore_files_count_at_every_level(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            ".gitignore": "*.csv\n/top.txt\nout/\n# a comment\n\n",
            "a.csv": "",
            "top.txt": "",
            "sub/top.txt": "",
            "sub/out/x.py": "",
            "sub/.gitignore": "!keep.csv\nlocal.py\n",
            "sub/keep.csv": "",
            "sub/drop.csv": "",
            "sub/local.py": "",
            "sub/deep/keep.csv": "",
            "local.py": "",
            "out": "a file, and the rule is for directories",
        },
    )
    assert packed(tmp_path) == [
        ".gitignore",
        "local.py",
        "out",
        "sub/.gitignore",
        "sub/deep/keep.csv",
        "sub/keep.csv",
        "sub/top.txt",
    ]


def test_penstockignore_has_the_last_word_in_its_directory(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            ".gitignore": "*.csv\n",
            ".penstockignore": "!small.csv\nnotes/\n",
            "small.csv": "",
            "big.csv": "",
            "notes/a": "",
        },
    )
    assert packed(tmp_path) == [".gitignore", ".penstockignore", "small.csv"]


def test_an_ignored_directory_cannot_be_opened_again_below(tmp_path: Path) -> None:
    project(tmp_path, {".gitignore": "data/\n", "data/.gitignore": "!*\n", "data/a.py": "", "b.py": ""})
    assert packed(tmp_path) == [".gitignore", "b.py"]


class TestRulesAbove:
    def test_the_repository_around_the_root_counts(self, tmp_path: Path) -> None:
        root = tmp_path / "services" / "train"
        project(
            tmp_path,
            {
                ".git/config": "",
                ".gitignore": "*.log\n/services/train/secret.txt\n",
                "services/.gitignore": "*.tmp\n",
                "services/train/a.py": "",
                "services/train/a.log": "",
                "services/train/a.tmp": "",
                "services/train/secret.txt": "",
                "services/train/sub/b.log": "",
            },
        )
        assert packed(root) == ["a.py"]

    def test_a_root_that_is_itself_ignored_is_meant(self, tmp_path: Path) -> None:
        project(tmp_path, {".git/config": "", ".gitignore": "*\n", "project/a.py": ""})
        assert packed(tmp_path / "project") == ["a.py"]

    def test_without_a_repository_nothing_above_counts(self, tmp_path: Path) -> None:
        project(tmp_path, {".gitignore": "*.py\n", "project/a.py": ""})
        assert packed(tmp_path / "project") == ["a.py"]

    def test_a_repository_of_its_own_ends_the_search(self, tmp_path: Path) -> None:
        project(tmp_path, {".git/config": "", ".gitignore": "*.py\n", "project/.git/config": "", "project/a.py": ""})
        assert packed(tmp_path / "project") == ["a.py"]


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        "__pycache__/a.pyc",
        "a.pyc",
        "sub/.venv/lib.py",
        "venv/lib.py",
        "web/node_modules/x.js",
        ".penstock/penstock.db",
        ".DS_Store",
        ".mypy_cache/x",
        ".ipynb_checkpoints/a.ipynb",
        ".idea/x",
        "a.py~",
    ],
)
def test_what_never_belongs_to_a_project(tmp_path: Path, path: str) -> None:
    project(tmp_path, {".gitignore": "!*\n", "a.py": "", path: ""})
    archive = pack(tmp_path)
    assert [file.path for file in archive.files] == [".gitignore", "a.py"]
    assert archive.skipped == ()


def test_a_virtual_environment_under_any_name(tmp_path: Path) -> None:
    project(tmp_path, {"a.py": "", "py311/pyvenv.cfg": "", "py311/lib/x.py": "", "venv.py": ""})
    assert packed(tmp_path) == ["a.py", "venv.py"]


def test_a_rule_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    project(tmp_path, {"sub/.penstockignore": "!\n", "a.py": ""})
    with pytest.raises(AuthoringError, match=r"sub/\.penstockignore cannot be understood"):
        pack(tmp_path)


def test_rules_are_immutable(tmp_path: Path) -> None:
    project(tmp_path, {".gitignore": "*.csv\n"})
    none = Ignoring()
    some = none.within(tmp_path)
    assert some.ignores("a.csv", directory=False)
    assert some.deeper("sub").ignores("a.csv", directory=False)
    assert not none.ignores("a.csv", directory=False)


@pytest.mark.skipif(not os.access("/usr/bin/git", os.X_OK), reason="compares with git")
def test_git_agrees(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            ".gitignore": "build/\n*.o\n!keep.o\n/root\ndoc/*.txt\n**/cache/**\nfoo\\ bar\n",
            "build/a": "",
            "sub/build/a": "",
            "a.o": "",
            "keep.o": "",
            "sub/keep.o": "",
            "root": "",
            "sub/root": "",
            "doc/a.txt": "",
            "doc/sub/a.txt": "",
            "x/cache/y/z": "",
            "foo bar": "",
            "sub/.gitignore": "*\n!*.py\n!.gitignore\n",
            "sub/a.py": "",
            "sub/a.txt": "",
        },
    )
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    listed = subprocess.run(
        ["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"},
    )
    assert packed(tmp_path) == sorted(listed.stdout.rstrip("\0").split("\0"))

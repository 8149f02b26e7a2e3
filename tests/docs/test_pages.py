"""The pages' code is run as it stands: `<!-- file: NAME -->` before a block keeps it as a file, `<!-- run -->` runs it.

The blocks of a page share a directory and a home of Penstock, from top to bottom.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^<!-- (?:file: (?P<file>\S+)|run) -->\n```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One marked block. `file` is its name if it is only kept."""

    line: int
    kind: str
    text: str
    file: str | None


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(text.count("\n", 0, found.start()) + 1, found["kind"], found["text"], found["file"])
        for found in BLOCK.finditer(text)
    ]


@pytest.fixture
def desk(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory with the example's data, and a home whose server is stopped in the end."""
    shutil.copytree(ROOT / "examples" / "training" / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    yield tmp_path
    subprocess.run([sys.executable, "-m", "penstock", "down", "--cancel"], check=True, capture_output=True)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def carry_out(block: Block, name: str) -> None:
    """Keep the block, or run it; its output shows where it fails."""
    if block.file is not None:
        Path(block.file).write_text(block.text)
        return
    command = {"python": [sys.executable, "-"], "bash": ["bash", "-euo", "pipefail", "-s"]}[block.kind]
    # A file of the page is imported from its directory, as in a project.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, input=block.text, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{name}:{block.line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=named)
def test_the_code_of_the_page_works(page: Path, desk: Path) -> None:
    for block in blocks(page):
        carry_out(block, page.name)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_mark_stands_before_a_block(page: Path) -> None:
    marks = re.findall(r"^<!-- (?:file: \S+|run) -->$", page.read_text(), re.MULTILINE)
    assert len(marks) == len(blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []

"""Pipelines that are typed into the cells of a notebook, in a real kernel."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.acceptance.site_under_test import Site

DOUBLE = """
from penstock import pipeline, step

@step
def double(number: int) -> int:
    print("doubling", number)
    return 2 * number

@pipeline
def doubled(number: int = 2):
    return double(number)
"""


class Notebook:
    """A notebook whose cells are typed and run one after the other."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client

    def run(self, source: str) -> list[Any]:
        """Run one more cell; what stands below it afterwards."""
        cell = nbformat.v4.new_code_cell(source)
        self._client.nb.cells.append(cell)
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        return list(cell.outputs)

    def prints(self, source: str) -> list[str]:
        """The lines that a cell prints; it must not fail."""
        outputs = self.run(source)
        assert [one for one in outputs if one.output_type == "error"] == []
        return stream(outputs, "stdout").splitlines()


def stream(outputs: list[Any], name: str) -> str:
    return "".join(one.text for one in outputs if one.output_type == "stream" and one.name == name)


def error(outputs: list[Any]) -> tuple[str, str]:
    """The name of the error below a cell, and the traceback as it is read."""
    [found] = [one for one in outputs if one.output_type == "error"]
    return found.ename, re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(found.traceback))


@pytest.fixture(scope="module")
def notebook(site: Site) -> Iterator[Notebook]:
    client = NotebookClient(nbformat.v4.new_notebook(), kernel_name="python3", timeout=60, allow_errors=True)
    with tempfile.TemporaryDirectory(prefix="pk-") as directory, pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, directory)
        client.resources["metadata"] = {"path": directory}
        with client.setup_kernel(env=site.environment):
            yield Notebook(client)


def test_a_pipeline_of_cells_runs_and_prints_below_its_cell(notebook: Notebook, site: Site) -> None:
    notebook.run(DOUBLE)
    outputs = notebook.run("run = doubled(number=4)\nprint(run.outputs)")
    assert stream(outputs, "stdout") == "doubling 4\n{'output': 8}\n"
    assert " completed in " in stream(outputs, "stderr")
    [name] = notebook.prints("print(run.name)")
    assert site.lines(name) == ["doubling 4"]


def test_a_cell_that_was_edited_counts_at_once(notebook: Notebook) -> None:
    notebook.run(DOUBLE)
    assert notebook.prints("print(doubled().outputs)") == ["doubling 2", "{'output': 4}"]
    edited = DOUBLE.partition("@pipeline")[0].replace("2 * number", "3 * number").replace("doubling", "tripling")
    notebook.run(edited)
    assert notebook.prints("print(doubled().outputs)") == ["tripling 2", "{'output': 6}"]


def test_the_loop_of_the_kernel_is_no_trouble(notebook: Notebook) -> None:
    notebook.run(DOUBLE)
    cell = "import asyncio\nawait asyncio.sleep(0)\nprint(doubled(number=5).outputs)\nawait asyncio.sleep(0)"
    assert notebook.prints(cell) == ["doubling 5", "{'output': 10}"]


def test_steps_side_by_side_print_below_the_cell(notebook: Notebook) -> None:
    cell = """
import sys
from penstock import pipeline, step
@step
def say(number: int) -> None:
    sys.stdout.write(f"number {number}\\n")  # at once: what the first step prints while it is alone is shown piece by piece
@pipeline
def many():
    for number in range(6):
        say(number)
run = many()
"""
    assert sorted(notebook.prints(cell)) == [f"number {number}" for number in range(6)]


def test_an_error_shows_the_lines_of_the_user(notebook: Notebook) -> None:
    cell = """
from penstock import pipeline, step
@step
def divide(number: int) -> int:
    return 1 // number
@pipeline
def divided(number: int = 0):
    return divide(number)
divided()
"""
    name, traceback = error(notebook.run(cell))
    assert name == "ZeroDivisionError"
    assert "return 1 // number" in traceback
    assert "penstock run show divided-" in traceback
    assert "penstock/runtime" not in traceback
    assert notebook.prints("print(divided(number=1).outputs)") == ["{'output': 1}"]


def test_an_interrupt_ends_the_run_and_leaves_the_kernel(notebook: Notebook, site: Site) -> None:
    cell = """
import os, signal, time
from penstock import pipeline, step
@step
def forever() -> None:
    print("begun", flush=True)
    os.kill(os.getpid(), signal.SIGINT)  # what the kernel's own interrupt sends
    while True:
        time.sleep(0.1)
@pipeline
def endless():
    forever()
endless()
"""
    outputs = notebook.run(cell)
    assert error(outputs)[0] == "KeyboardInterrupt"
    assert stream(outputs, "stdout") == "begun\n"
    [run] = site.get("/runs", pipeline="endless")["items"]
    assert run["state"] in ("failed", "cancelled")
    notebook.run(DOUBLE)
    assert notebook.prints("print(doubled().outputs)")[-1] == "{'output': 4}"


def test_what_cannot_be_frozen_says_what_to_do(notebook: Notebook) -> None:
    notebook.run(DOUBLE)
    name, traceback = error(notebook.run("doubled.create_run_template(name='doubled')"))
    assert name == "AuthoringError"
    assert "%%writefile" in traceback
    assert "%%writefile" in stream(notebook.run("doubled.create_snapshot();"), "stderr")


def test_what_is_written_from_a_cell_can_be_frozen(notebook: Notebook, site: Site) -> None:
    notebook.run("%%writefile doubling.py\n" + DOUBLE)
    notebook.prints("from doubling import doubled as from_file\nfrom_file.create_run_template(name='from-notebook');")
    run = site.ended(site.trigger("from-notebook", {"number": 21})["id"])
    assert run["outputs"] == {"output": 42}


def test_bars_of_every_kind(notebook: Notebook) -> None:
    cell = """
from penstock import pipeline, step
@step
def bars() -> int:
    from rich.progress import track
    from tqdm import tqdm
    from tqdm.auto import tqdm as auto
    from tqdm.notebook import tqdm as widget
    for bar in (tqdm, auto, widget, track):
        for _ in bar(range(3)):
            pass
    return 1
@pipeline
def with_bars():
    return bars()
print(with_bars().outputs)
"""
    outputs = notebook.run(cell)
    assert "{'output': 1}" in stream(outputs, "stdout"), outputs
    assert "100%|" in stream(outputs, "stderr")
    assert "application/vnd.jupyter.widget-view+json" in str(outputs)


def test_values_are_shown_as_what_they_are(notebook: Notebook) -> None:
    html = notebook.run("from penstock import HTML, Markdown\nHTML('<b>bold</b>')")
    assert html[0].data["text/html"] == "<b>bold</b>"
    markdown = notebook.run("Markdown('**bold**')")
    assert markdown[0].data["text/markdown"] == "**bold**"
    cell = """
from penstock import HTML, pipeline, step
from IPython.display import display
@step
def page() -> HTML:
    display(HTML("<i>shown</i>"))
    return HTML("<i>kept</i>")
@pipeline
def shows():
    return page()
run = shows()
"""
    assert [one.data["text/html"] for one in notebook.run(cell) if one.output_type == "display_data"] == [
        "<i>shown</i>"
    ]

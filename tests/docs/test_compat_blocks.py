"""Every Python block of the reference document on templates, unchanged but for its placeholders, on Penstock.

The document lies beside the repository and not in it; where it is missing, nothing of this can be tested.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.site_under_test import Site

ROOT = Path(__file__).parents[2]
PLACES = (ROOT.parent / "shared", ROOT.parents[1] / "shared")
FOUND = [place / "reference" / "templates.md" for place in PLACES if (place / "reference" / "templates.md").is_file()]

pytestmark = pytest.mark.skipif(
    not FOUND, reason="the blocks are NOT TESTED: shared/reference/templates.md is not here"
)

PREPARED = """
from zenml import pipeline, step

@step
def data_loader(data_path: str = "none") -> str:
    return data_path

@step
def model_trainer(data: str, learning_rate: float = 0.1) -> str:
    return f"{data} {learning_rate}"

@step
def my_step(my_param: int = 1) -> int:
    return my_param

@pipeline
def training():
    return model_trainer(data_loader())

@pipeline
def mine():
    return my_step()

if __name__ == "__main__":
    training.create_run_template(name="daily-retraining")
    mine.create_run_template(name="mine")
    print(mine().id)
"""


def blocks() -> list[str]:
    text = FOUND[0].read_text() if FOUND else ""
    return [
        textwrap.dedent(one) for one in re.findall(r"^[ ]*```python\n(.*?)^[ ]*```", text, re.DOTALL | re.MULTILINE)
    ]


def block_with(words: str) -> str:
    (found,) = [one for one in blocks() if words in one]
    return found


def filled_in(block: str, *values: tuple[str, str]) -> str:
    """The block with each placeholder, in the order in which they come, replaced once."""
    for placeholder, value in values:
        assert placeholder in block, placeholder
        block = block.replace(placeholder, value, 1)
    assert not re.search(r"<[A-Z_-]+>", block), block
    return block


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("h")).start()
    yield running
    running.stop()


Run = Callable[[str], str]


@pytest.fixture
def run(site: Site, tmp_path: Path) -> Run:
    """Runs a script as somebody who has code for ZenML would; what it printed."""

    def script(text: str) -> str:
        file = tmp_path / "run.py"
        file.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "penstock.compat.zenml", str(file)],
            env=site.environment | {"PENSTOCK_QUIET": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    return script


@pytest.fixture
def prepared(run: Run) -> str:
    """The templates of the document's stories are there; the name of a run of one of them."""
    return run(PREPARED)


def newest(site: Site, **filters: str) -> dict[str, Any]:
    (listed,) = site.get("/runs", size=1, **filters)["items"]
    return site.ended(listed["id"])


def test_all_blocks_are_known() -> None:
    assert len(blocks()) == 5  # a new one needs a test here


def test_a_template_is_triggered_by_its_name_with_values_for_steps(site: Site, run: Run, prepared: str) -> None:
    run(block_with("daily-retraining"))
    ended = newest(site, template="daily-retraining")
    assert ended["outputs"] == {"output": "s3://new-data/ 0.01"}


def test_templates_are_made_from_a_run_and_from_a_pipeline(site: Site, run: Run, prepared: str) -> None:
    block = filled_in(
        block_with("Create from an existing run"),
        ("<RUN_NAME_OR_ID>", prepared),
        ("<TEMPLATE_NAME>", "from-a-run"),
        ("<TEMPLATE_NAME>", "from-a-pipeline"),
    )
    run(block)
    assert site.get("/run_templates/from-a-run")["template"]["pipeline_name"] == "mine"
    assert site.get("/run_templates/from-a-pipeline")["template"]["pipeline_name"] == "my_pipeline"
    assert site.ended(site.trigger("from-a-pipeline")["id"])["state"] == "completed"


def test_the_configuration_of_a_template_is_edited_and_sent_back(site: Site, run: Run, prepared: str) -> None:
    block = filled_in(block_with("config = template.config_template"), ("<TEMPLATE_NAME>", "mine"))
    run(f"new_value = 42\n{block}")
    assert newest(site, template="mine")["outputs"] == {"output": 42}


DRIVER = """

if __name__ == "__main__":
    training_pipeline.create_run_template(name="{template}")
    print(loads_data_and_triggers_training().id)
"""


def test_a_step_triggers_the_latest_template_of_another_pipeline(site: Site, run: Run) -> None:
    block = block_with("def loads_data_and_triggers_training")
    parent = run(block + DRIVER.format(template="handed-over"))
    child = newest(site, parent_run_id=parent)
    assert (child["state"], child["pipeline_name"]) == ("completed", "training_pipeline")
    assert child["cause"]["parent_step"] == "trigger_pipeline"
    handed = child["step_parameters"]["trainer"]["data_artifact_id"]
    made = site.get(f"/artifacts/{handed}")
    assert (made["run_id"], made["step"]) == (parent, "load_data")
    assert made["type"].endswith("DataFrame")
    uses = site.get(f"/artifacts/{handed}/lineage")["used"]
    assert (child["id"], "trainer", "input") in [(one["run_id"], one["step"], one["kind"]) for one in uses]


def test_a_step_triggers_one_template_by_id_and_by_name(site: Site, run: Run) -> None:
    first = block_with("def loads_data_and_triggers_training")
    run(first + DRIVER.format(template="my-specific-template-name"))
    template = site.get("/run_templates/my-specific-template-name")["template"]["id"]
    second = filled_in(block_with("def trigger_specific_template"), ("<YOUR-TEMPLATE-ID>", repr(template)))
    driver = """

@pipeline
def specific():
    trigger_specific_template(load_data())

if __name__ == "__main__":
    print(specific().id)
"""
    parent = run(f"from uuid import UUID\n{first}\n{second}{driver}")
    children = site.get("/runs", parent_run_id=parent)["items"]
    assert [one["template_name"] for one in children] == ["my-specific-template-name"] * 2
    assert {site.ended(one["id"])["state"] for one in children} == {"completed"}


def test_a_pipeline_leaves_a_value_to_who_starts_it(site: Site, run: Run) -> None:
    first = block_with("def loads_data_and_triggers_training")
    run(first + DRIVER.format(template="left-to-you"))
    answer = site.api.post("/run_templates/left-to-you/runs", json={})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/steps/trainer/parameters/data_artifact_id"

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.demo_check import main, mistakes

CANCER = {"parameters": {"data_url": "/x/breast_cancer.csv", "model_type": "random_forest"}}
WINE = {"parameters": {"data_url": "/x/wine.csv", "model_type": "gradient_boosting"}}


def run(asked: dict[str, Any], **changes: Any) -> dict[str, Any]:
    wine = "wine" in asked["parameters"]["data_url"]
    metrics = {"accuracy": 0.95, "f1": 0.95, "rows": 178 if wine else 569, "classes": 3 if wine else 2}
    right = {"id": f"id-{wine}", "name": "r", "state": "completed", "parameters": asked["parameters"]}
    return {**right, "outputs": {"output": metrics}, **changes}


@pytest.mark.parametrize("asked", [CANCER, WINE])
def test_a_run_as_asked_passes(asked: dict[str, Any]) -> None:
    assert list(mistakes(run(asked), asked)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "failed", "reason": "OOM", "outputs": None}, "failed: OOM"),
        ({"parameters": WINE["parameters"]}, "ran with"),
        ({"outputs": run(WINE)["outputs"]}, "rows = 178, its data has 569"),
        ({"outputs": {"output": {"rows": 569, "classes": 2, "accuracy": 0.5}}}, "accuracy 0.5"),
    ],
)
def test_what_is_not_as_asked_is_said(changes: dict[str, Any], said: str) -> None:
    problems = list(mistakes(run(CANCER, **changes), CANCER))
    assert any(said in problem for problem in problems)


def test_the_exit_status_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cancer, wine = tmp_path / "c.json", tmp_path / "w.json"
    cancer.write_text(json.dumps(run(CANCER)))
    wine.write_text(json.dumps(run(WINE)))
    right = [str(cancer), json.dumps(CANCER), str(wine), json.dumps(WINE)]
    assert main(right) == 0
    assert "gradient_boosting" in capsys.readouterr().out
    assert main([str(wine), json.dumps(CANCER), str(cancer), json.dumps(WINE)]) == 1


def test_one_run_for_two_calls_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cancer = tmp_path / "c.json"
    cancer.write_text(json.dumps(run(CANCER)))
    assert main([str(cancer), json.dumps(CANCER)] * 2) == 1
    assert "the same run" in capsys.readouterr().err

"""The end of the demo: hold two runs against what was asked of them, and print their metrics.

The number of rows and classes tells the two data sets apart, so a run with the other's result does not pass.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EXPECTED = {"breast_cancer.csv": {"rows": 569, "classes": 2}, "wine.csv": {"rows": 178, "classes": 3}}


def mistakes(run: dict[str, Any], asked: dict[str, Any]) -> Iterator[str]:
    """Everything about this run that is not as asked."""
    name = run["name"]
    if run["state"] != "completed":
        yield f"{name} is {run['state']}: {run.get('reason')}"
        return
    if run["parameters"] != asked["parameters"]:
        yield f"{name} ran with {run['parameters']}, asked was {asked['parameters']}"
    found = metrics(run)
    for what, value in EXPECTED[Path(asked["parameters"]["data_url"]).name].items():
        if found.get(what) != value:
            yield f"{name} reports {what} = {found.get(what)}, its data has {value}"
    if not 0.9 < found.get("accuracy", 0) <= 1:
        yield f"{name} reports accuracy {found.get('accuracy')}, which none of these models has on this data"


def metrics(run: dict[str, Any]) -> dict[str, Any]:
    """What `evaluate` returned: the run's only output."""
    [value] = (run["outputs"] or {"": {}}).values()
    return value if isinstance(value, dict) else {}


def main(arguments: list[str]) -> int:
    """`RUN_FILE ASKED RUN_FILE ASKED ...`: print a line for each run, then every mistake."""
    pairs = [
        (json.loads(Path(file).read_text()), json.loads(asked))
        for file, asked in zip(arguments[::2], arguments[1::2], strict=True)
    ]
    print(f"{'run id':38}{'model_type':20}{'rows':>6}{'classes':>9}{'accuracy':>10}{'f1':>8}")
    for run, asked in pairs:
        found = metrics(run)
        shown = f"{found.get('accuracy', 0):10.3f}{found.get('f1', 0):8.3f}"
        counts = f"{found.get('rows', '-'):>6}{found.get('classes', '-'):>9}"
        print(f"{run['id']:38}{asked['parameters']['model_type']:20}{counts}{shown}")
    problems = [mistake for run, asked in pairs for mistake in mistakes(run, asked)]
    if len({run["id"] for run, _ in pairs}) != len(pairs):
        problems.append("the calls were answered with the same run")
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

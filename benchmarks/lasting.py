"""A hundred thousand requests to one deployment: what they leave in its memory, and whether each one is in the record."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks.deploying import all_recorded, many
from benchmarks.figures import Aim, Figure
from benchmarks.harness import Lab, check

ALL = 100_000
PORTION = 10_000
"""Requests after which the memory is looked at."""

CLIENTS = 8


def measure(lab: Lab, _: int) -> list[Figure]:
    """Once, however often it is asked for: it takes minutes. The yardstick is the same service after the first portion."""
    home = lab.new("home")
    server = lab.penstock(home)
    deploy = ("pipeline", "deploy", "two_steps.py:two_steps", "--name", "two", "-o", "json")
    made = json.loads(lab.python("-m", "penstock", *deploy, home=home, cwd=lab.project("two_steps.py")))
    directory = home / "deployments" / made["id"]
    worker = psutil.Process(json.loads((directory / "state.json").read_text())["workers"][0])
    numbers = itertools.count(1)
    sizes = []
    for _ in range(ALL // PORTION):
        _portion(made["url"], numbers)
        sizes.append(worker.memory_info().rss / 2**20)
    all_recorded(lab, home, ALL)
    lab.python("-m", "penstock", "deployment", "deprovision", "two", home=home)
    all_recorded(lab, home, ALL)
    check(_spooled(directory) == 0, f"{_spooled(directory)} bytes were not told")
    server.stop()
    return [
        Figure(
            what=f"memory of the service after {ALL} requests ({', '.join(f'{size:.0f}' for size in sizes)})",
            ours=[max(sizes)],
            against=f"after {PORTION}",
            yardstick=[sizes[0]],
            unit="MiB",
            aim=Aim(120),
        )
    ]


def _portion(url: str, numbers: itertools.count[int]) -> None:
    port = int(url.rpartition(":")[2])
    with ThreadPoolExecutor(CLIENTS) as pool:
        for one in [pool.submit(many, port, PORTION // CLIENTS, numbers) for _ in range(CLIENTS)]:
            one.result()


def _spooled(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("spool/*") if path.is_file())

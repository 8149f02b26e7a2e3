"""Figures as a table that is plain to read on a terminal and in Markdown, and the file that keeps them."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Aim, Figure, Unit

RESULTS = Path(__file__).with_name("RESULTS.md")

_COLUMNS = ("what", "Penstock", "yardstick", "samples", "ratio", "reach", "reached")
_ANSWERS = {True: "yes", False: "no", None: "-"}


def table(figures: Sequence[Figure]) -> str:
    """The figures as an aligned Markdown table: median (minimum - maximum)."""
    rows = [_COLUMNS, *map(_row, figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def shown(value: float, unit: Unit) -> str:
    """A quantity with three digits, in the unit in which people say it."""
    if unit == "MiB":
        return f"{value:.0f} MiB"
    if value < 0.0995:
        return f"{value * 1000:.3g} ms"
    return f"{value:.2f} s"


def section(when: datetime, facts: Mapping[str, str], figures: Sequence[Figure]) -> str:
    """One measurement as a section of the results file."""
    machine = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"## {when:%Y-%m-%d %H:%M} UTC\n\n{machine}\n\n{table(figures)}\n"


def inserted(text: str, new: str) -> str:
    """`text` with the section `new` before all other sections, below the introduction."""
    begin = text.find("\n## ")
    if begin < 0:
        return f"{text.rstrip()}\n\n{new}"
    return f"{text[: begin + 1]}{new}\n{text[begin + 1 :]}"


def write(figures: Sequence[Figure], facts: Mapping[str, str], file: Path = RESULTS) -> None:
    """Put a section of now on top of the results file."""
    text = file.read_text() if file.exists() else "# Results\n"
    file.write_text(inserted(text, section(datetime.now(UTC), facts, figures)))


def machine() -> dict[str, str]:
    """What the figures depend on besides Penstock."""
    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "load before": f"{os.getloadavg()[0]:.2f} (another program's work, on a machine that is to be quiet)",
        "Penstock": _commit(),
    }


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.what,
        _spread(figure.ours, figure.unit),
        f"{figure.against}: {_spread(figure.yardstick, figure.unit)}",
        str(len(figure.ours)),
        f"{figure.ratio:.3g}",
        _aim(figure.aim, figure.unit),
        _ANSWERS[figure.reached],
    )


def _spread(samples: Sequence[float], unit: Unit) -> str:
    return f"{shown(statistics.median(samples), unit)} ({shown(min(samples), unit)} - {shown(max(samples), unit)})"


def _aim(aim: Aim | None, unit: Unit) -> str:
    if aim is None:
        return "-"
    return f"<= {aim.most:g} x" if aim.times else f"<= {shown(aim.most, unit)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not from a repository"

"""`python -m benchmarks`: measure, print a table, and on request keep it."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import NoReturn

from benchmarks import (
    backlog,
    burst,
    deploying,
    framing,
    growing,
    lasting,
    listing,
    queueing,
    report,
    script,
    serving,
    start,
    stepping,
    triggering,
)
from benchmarks.figures import Figure
from benchmarks.harness import Lab, Wrong

BENCHMARKS: Mapping[str, Callable[[Lab, int], list[Figure]]] = {
    "start": start.measure,
    "script": script.measure,
    "listing": listing.measure,
    "serving": serving.measure,
    "stepping": stepping.measure,
    "growing": growing.measure,
    "framing": framing.measure,
    "triggering": triggering.measure,
    "burst": burst.measure,
    "queueing": queueing.measure,
    "deploying": deploying.measure,
    "lasting": lasting.measure,
    "backlog": backlog.measure,
}


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 if every result was right, however long it took; 1 if one was wrong."""
    options = _parser().parse_args(arguments)
    # Whoever stops us, what was started here must end: the blocks of the labs see to it on their way out.
    signal.signal(signal.SIGTERM, _leave)
    facts, figures, wrong = report.machine(), list[Figure](), list[str]()
    try:
        for name in options.only or BENCHMARKS:
            print(f"{name} ...", file=sys.stderr, flush=True)
            with Lab() as lab:
                try:
                    figures += BENCHMARKS[name](lab, options.repeat)
                except Wrong as error:
                    wrong.append(f"{name}: {error}\n{lab.last_words()}")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    if figures:
        print(report.table(figures))
    for problem in wrong:
        print(f"WRONG: {problem}", file=sys.stderr)
    if options.write and not wrong:
        report.write(figures, facts)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--repeat", type=_repetitions, default=10, metavar="N", help="samples, at least [default: 10]")
    parser.add_argument("--write", action="store_true", help="put the table on top of benchmarks/RESULTS.md")
    return parser


def _repetitions(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of at least 1")
    return int(text)


def _leave(signum: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())

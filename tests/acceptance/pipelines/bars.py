"""Steps with progress bars of the libraries that people use, drawn in every way that they have."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from penstock import pipeline, step


@step
def nested() -> int:
    from tqdm.auto import tqdm

    for number in tqdm(range(3), desc="outer"):
        for _ in tqdm(range(40), desc="inner", leave=False, mininterval=0.01):
            time.sleep(0.002)  # poll: a bar moves
        tqdm.write(f"round {number}")
    print("nested is over")
    return 1


@step
def side_by_side() -> int:
    from tqdm import tqdm

    bars = [tqdm(total=40, desc=f"bar {at}", position=at, mininterval=0.01) for at in range(3)]
    for _ in range(40):
        for bar in bars:
            bar.update()
        time.sleep(0.002)  # poll: a bar moves
    for bar in bars:
        bar.close()
    return 2


@step
def of_threads() -> int:
    from tqdm import tqdm

    bar, lock = tqdm(total=80, desc="shared", mininterval=0.01), threading.Lock()

    def work() -> None:
        for _ in range(20):
            with lock:
                bar.update()
            time.sleep(0.002)  # poll: a bar moves

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bar.close()
    return 3


@step
def richly() -> int:
    from rich.progress import Progress

    with Progress() as progress:
        load, fit = progress.add_task("[red]load", total=40), progress.add_task("fit", total=80)
        for number in range(40):
            progress.advance(load)
            progress.advance(fit, 2)
            time.sleep(0.005)  # poll: a bar moves
            if number == 20:
                progress.console.print("halfway")
    print("\x1b[32mgreen\x1b[0m")
    return 4


@step
def long(path: str) -> int:
    from tqdm import tqdm

    with tqdm(total=None, desc="long", mininterval=0.05) as bar:
        while not Path(path).exists():
            bar.update()
            time.sleep(0.02)  # poll: goes on when the test says so
    return 5


@step
def slow() -> int:
    time.sleep(1.1)  # poll: long enough to be told of
    return 6


@pipeline
def in_turn() -> None:
    """One after the other."""
    first = nested()
    second = side_by_side(after=[first])
    third = of_threads(after=[second])
    richly(after=[third])


@pipeline
def at_once() -> None:
    """All at the same time."""
    nested(), side_by_side(), of_threads(), richly()


@pipeline
def endless(path: str) -> None:
    """A bar that moves until a file is there."""
    long(path)


@pipeline
def slowly() -> None:
    """Nothing is to be seen for a while."""
    slow()


if __name__ == "__main__":
    {"in_turn": in_turn, "at_once": at_once, "slowly": slowly}[sys.argv[1]]()

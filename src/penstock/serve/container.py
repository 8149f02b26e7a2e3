"""`python -m penstock.serve.container`: the first process of a container, which keeps the service of a plan up in it.

The plan may lie on a disk that cannot be written (a mounted secret). What should outlive the container is kept in another
directory; all else is written below the home, which may be empty, and a disk in memory. SIGTERM has requests under way end;
SIGHUP has the plan read again, and a new revision come up beside the old one. All that is printed goes to the standard output.

With `--give-up` it ends where the service does not come up, instead of trying again: for those who start a container again
themselves, and tell what it said last (Kubernetes).

With `--gate` it does not listen itself, but serves on the port that the gate of the deployment holds (`penstock.serve.gate`),
beside containers of other revisions, until one of a later generation is ready.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from penstock.errors import PenstockError
from penstock.model.container import CODE, HOME, PLAN, PORT, STATE
from penstock.serve.gate import GateAway, Way
from penstock.serve.keeper import Keeper, listening

PAUSE = 0.2
"""Seconds after which a gate that is not there is looked for again."""


class Guest(Keeper):
    """A keeper at somebody else's port. If the gate is exchanged, so is the socket, like a revision."""

    def __init__(self, directory: Path, plan: Path, gate: Path, generation: int) -> None:
        """Waits for the gate."""
        self._gate, self._generation = gate, generation
        self._way: Way | None = _arrived(gate, generation)
        self._resting = False
        super().__init__(directory, self._way.port, log=1, plan=plan)

    def _ways(self) -> list[int]:
        return [self._way.fileno()] if self._way is not None else []

    def _hear_others(self) -> None:
        if self._way is None:
            self._look_for_gate()
            return
        try:
            leave = self._way.told_to_leave()
        except GateAway:
            self._way.close()
            self._way = None
            return
        if leave and not self._resting:
            self._resting = True
            self._leave_all()
            self._write("left")

    def _look_for_gate(self) -> None:
        with suppress(GateAway):
            self._way = Way(self._gate, self._generation)
            self._socket = self._way.port
            if not (self._resting or self._stopping):
                self._roll()

    def _look(self) -> None:
        if self._resting:
            self._asked, self._next_start = False, None
        super()._look()

    def _idle(self) -> float:
        return PAUSE if self._way is None else super()._idle()

    def _write(self, state: str) -> None:
        super()._write("left" if self._resting and state != "absent" else state)
        if state == "running" and self._way is not None:
            self._way.say_ready()


class Tenant(Keeper):
    """A keeper that gives up where nothing serves and nothing comes up: somebody else looks after it."""

    gave_up = False

    def _look_at_coming(self, now: float) -> None:
        came = bool(self._coming)
        super()._look_at_coming(now)
        if came and not (self._coming or self._serving):
            sys.stderr.write(f"penstock: the service does not come up: {self._error}\n")
            self.gave_up = True
            self._stop()


def _arrived(gate: Path, generation: int) -> Way:
    while True:
        with suppress(GateAway):
            return Way(gate, generation)
        time.sleep(PAUSE)


def main(arguments: list[str] | None = None) -> int:
    """Keep the service up until SIGTERM. The exit status is 0 then, and 1 if it could not begin."""
    parser = argparse.ArgumentParser(prog="python -m penstock.serve.container", description=__doc__)
    parser.add_argument("--plan", type=Path, default=Path(PLAN))
    parser.add_argument("--home", type=Path, default=Path(HOME), help="the home that the plan names")
    parser.add_argument("--state", type=Path, default=Path(STATE), help="what should outlive the container")
    parser.add_argument("--code", type=Path, default=Path(CODE), help="code archives, unpacked, that are in the image")
    parser.add_argument("--host", default="0.0.0.0", help="where to listen")  # noqa: S104  # who gets there is for the engine
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--gate", type=Path, default=None, help="serve on the port of this gate")
    parser.add_argument("--generation", type=int, default=0, help="at the gate those of earlier ones make room")
    parser.add_argument("--give-up", action="store_true", help="end with status 1 where the service does not come up")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process has no other default
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the keeper knows what that means
    try:
        directory = _furnished(options.home, options.state, options.code)
        if options.gate is not None:
            keeper: Keeper = Guest(directory, options.plan, options.gate, options.generation)
        else:
            kind = Tenant if options.give_up else Keeper
            keeper = kind(directory, listening(options.host, [options.port]), log=1, plan=options.plan)
    except (OSError, PenstockError) as error:
        sys.stderr.write(f"penstock: the service cannot be kept up: {error}\n")
        return 1
    keeper.run()
    return 1 if isinstance(keeper, Tenant) and keeper.gave_up else 0


def _furnished(home: Path, state: Path, code: Path) -> Path:
    """The keeper's own directory, in a home that looks like any other."""
    directory = home / "keeper"
    for made in (directory, state, home / "cache" / "code"):
        made.mkdir(parents=True, exist_ok=True)
    for archive in code.iterdir() if code.is_dir() else ():
        place = home / "cache" / "code" / archive.name
        if place.is_symlink():  # of another image
            place.unlink()
        if not place.exists():
            place.symlink_to(archive)
    (directory / "state.json").unlink(missing_ok=True)  # of another life
    (directory / "arguments.json").write_text(json.dumps(["--state", str(state)]))
    return directory


if __name__ == "__main__":
    sys.exit(main())

"""`python -m penstock.serve.container`: the first process of a container, which keeps the service of a plan up in it.

The plan may lie on a disk that cannot be written (a mounted secret). What should outlive the container is kept in another
directory; all else is written below the home, which may be empty, and a disk in memory. SIGTERM has requests under way end;
SIGHUP has the plan read again, and a new revision come up beside the old one. All that is printed goes to the standard output.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from penstock.errors import PenstockError
from penstock.model.container import CODE, HOME, PLAN, PORT, STATE
from penstock.serve.keeper import Keeper, listening


def main(arguments: list[str] | None = None) -> int:
    """Keep the service up until SIGTERM. The exit status is 0 then, and 1 if it could not begin."""
    parser = argparse.ArgumentParser(prog="python -m penstock.serve.container", description=__doc__)
    parser.add_argument("--plan", type=Path, default=Path(PLAN))
    parser.add_argument("--home", type=Path, default=Path(HOME), help="the home that the plan names")
    parser.add_argument("--state", type=Path, default=Path(STATE), help="what should outlive the container")
    parser.add_argument("--code", type=Path, default=Path(CODE), help="code archives, unpacked, that are in the image")
    parser.add_argument("--host", default="0.0.0.0", help="where to listen")  # noqa: S104  # who gets there is for the engine
    parser.add_argument("--port", type=int, default=PORT)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the keeper knows what that means
    try:
        directory = _furnished(options.home, options.state, options.code)
        sock = listening(options.host, [options.port])
    except (OSError, PenstockError) as error:
        sys.stderr.write(f"penstock: the service cannot be kept up: {error}\n")
        return 1
    Keeper(directory, sock, log=1, plan=options.plan).run()
    return 0


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

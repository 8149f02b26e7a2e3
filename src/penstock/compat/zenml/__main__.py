"""`python -m penstock.compat.zenml script.py [ARGUMENTS]`, or `-m module [ARGUMENTS]`: run code that was written for ZenML."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import penstock.compat.zenml  # noqa: F401  (that is what it is for)

USAGE = "usage: python -m penstock.compat.zenml (SCRIPT.py | -m MODULE) [ARGUMENT ...]"


def main(arguments: list[str]) -> None:
    """Run the script or module as Python itself would."""
    if arguments[:1] == ["-m"] and len(arguments) > 1:
        sys.argv = arguments[1:]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments and not arguments[0].startswith("-"):
        sys.argv = arguments
        script = Path(arguments[0])
        if not script.is_file():
            sys.exit(f"{USAGE}\nThere is no file {script}.")
        sys.path.insert(0, str(script.resolve().parent))
        _run(script)
    else:
        sys.exit(USAGE)


def _run(script: Path) -> None:
    """The script as module `__main__`, with a file: so that what is declared in it can be frozen."""
    module = sys.modules["__main__"]
    module.__spec__ = None
    module.__dict__["__file__"] = str(script)
    exec(compile(script.read_bytes(), str(script), "exec"), module.__dict__)  # noqa: S102  (it is the user's own script)


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m penstock.runtime [SUPERVISOR_PID]`: carry out the run whose ticket comes on standard input.

The way to start a run where no warm parent can fork it. With a pid it dies with that process.
"""

from __future__ import annotations

import os
import sys

import msgspec

from penstock.errors import PenstockError
from penstock.model.launch import Ticket
from penstock.runtime import processes, workplace
from penstock.runtime.run import main as run
from penstock.runtime.warm import run_exit_handlers

NOT_STARTED = 78
"""Exit status when the run's code could not be had (EX_CONFIG, sysexits.h)."""


def main(arguments: list[str]) -> int:
    """Read the ticket and carry it out. Returns the exit status of the run."""
    if arguments:
        processes.die_with(int(arguments[0]))
    os.umask(0o077)
    ticket = msgspec.json.decode(sys.stdin.buffer.read(), type=Ticket)
    processes.leave_stdin()
    processes.mark(ticket.run_id)
    processes.prefer_as_oom_victim()
    try:
        code = workplace.enter_code(ticket)
    except (PenstockError, OSError) as error:
        sys.stderr.write(f"penstock: run {ticket.run_name} could not be started: {error}\n")
        return NOT_STARTED
    return workplace.carry_out(ticket, code, run, run_exit_handlers)


if __name__ == "__main__":
    # Threads that user code left behind do not keep the process: its run has ended.
    os._exit(main(sys.argv[1:]))

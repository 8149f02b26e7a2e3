from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from penstock.ids import new_id
from penstock.model.launch import Exit
from penstock.runtime.ledger import Ledger


def test_a_claim_is_opened_once(home: Path) -> None:
    run_id = new_id()
    assert Ledger(str(home)).open(run_id, 1)
    assert not Ledger(str(home)).open(run_id, 1)
    assert Ledger(str(home)).open(run_id, 2)


def test_exits_outlive_their_supervisor_until_the_server_has_heard_of_them(home: Path) -> None:
    ledger, ended = Ledger(str(home)), Exit(run_id=new_id(), fence=3, status=2, failure="exited with status 2")
    ledger.open(ended.run_id, ended.fence)
    ledger.end(ended)
    assert Ledger(str(home)).recover() == [ended]
    ledger.close(ended)
    ledger.close(ended)
    assert Ledger(str(home)).recover() == []
    assert list((home / "held").iterdir()) == []


def test_a_run_that_was_alive_is_lost_with_its_supervisor(home: Path) -> None:
    run_id = new_id()
    Ledger(str(home)).open(run_id, 5)
    words = "was lost: the supervisor of its machine was killed"
    assert Ledger(str(home)).recover() == [Exit(run_id=run_id, fence=5, status=None, failure=words)]


def test_a_half_written_exit_does_not_hide_the_run(home: Path) -> None:
    run_id = new_id()
    Ledger(str(home)).open(run_id, 1)
    (home / "held" / f"{run_id}@1.new").write_text('{"run_')
    [lost] = Ledger(str(home)).recover()
    assert (lost.run_id, lost.fence, lost.launched) == (run_id, 1, True)
    assert [one.name for one in (home / "held").iterdir()] == [f"{run_id}@1"]


def test_an_exit_that_finds_no_room_leaves_nothing_half_written(home: Path) -> None:
    ended = Exit(run_id=new_id(), fence=1, status=0, failure="exited")
    program = (
        "import resource, sys; from penstock.model.launch import Exit; from penstock.runtime.ledger import Ledger\n"
        "ledger = Ledger(sys.argv[1]); ledger.open(sys.argv[2], 1)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try: ledger.end(Exit(run_id=sys.argv[2], fence=1, status=0, failure='exited'))\n"
        "except OSError: sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(home), ended.run_id], check=False).returncode == 7
    assert [one.name for one in (home / "held").iterdir()] == [f"{ended.run_id}@1"]
    assert [one.failure for one in Ledger(str(home)).recover()] == [
        "was lost: the supervisor of its machine was killed"
    ]

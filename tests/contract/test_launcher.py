"""What every launcher keeps. A launcher of another kind joins by an entry in `LAUNCHERS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.ids import new_id
from penstock.stack.contracts import Launcher
from penstock.stack.flavors.local import LocalLauncher
from tests.launching import Household, alive, eventually, household

# How to make a launcher of each kind for a household.
LAUNCHERS: dict[str, Callable[[Household], Launcher]] = {
    "local": lambda house: LocalLauncher(str(house.home), house.address),
}


@pytest.fixture
def house(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Household]:
    project = tmp_path / "project"
    project.mkdir()
    (project / "work.py").write_text(
        "import os, subprocess, time\n"
        "def note(path): print(os.getpid(), file=open(path, 'a'))\n"
        "def stay(path):\n"
        "    note(path)\n"
        "    subprocess.run(['sh', '-c', f'echo $$ >> {path}; trap \"\" TERM; while true; do sleep 1; done'])\n"
    )
    with household(home, project, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture(params=list(LAUNCHERS))
def launcher(request: pytest.FixtureRequest, house: Household) -> Iterator[Launcher]:
    made = LAUNCHERS[request.param](house)
    yield made
    made.close()


def test_it_keeps_the_contract(launcher: Launcher) -> None:
    assert isinstance(launcher, Launcher)


def test_a_launched_run_is_carried_out_and_its_exit_reported(launcher: Launcher, house: Household) -> None:
    ticket = house.ticket("work:note", parameters={"path": str(house.notes)})
    launcher.launch(ticket)
    assert house.server.exit_of(ticket).launched
    assert len(house.noted()) == 1


def test_launching_again_does_nothing(launcher: Launcher, house: Household) -> None:
    ticket = house.ticket("work:note", parameters={"path": str(house.notes)})
    launcher.launch(ticket)
    launcher.launch(ticket)
    house.server.exit_of(ticket)
    launcher.launch(ticket)
    after = house.ticket("work:note", parameters={"path": str(house.notes)})
    launcher.launch(after)
    house.server.exit_of(after)
    assert len(house.noted()) == 2


def test_the_lease_is_renewed_while_the_process_lives(launcher: Launcher, house: Household) -> None:
    ticket = house.ticket("work:stay", parameters={"path": str(house.notes)}, lease=0.5)
    launcher.launch(ticket)
    house.noted(2)
    before = len(house.server.reports)
    eventually(lambda: len(house.server.reports) > before + 2)
    assert [(one.run_id, one.fence) for one in house.server.reports[-1].held] == [(ticket.run_id, 1)]
    launcher.stop(ticket.run_id)


def test_a_stopped_run_is_gone_with_all_its_children(launcher: Launcher, house: Household) -> None:
    ticket = house.ticket("work:stay", parameters={"path": str(house.notes)}, grace=0.2)
    launcher.launch(ticket)
    pids = [int(line) for line in house.noted(2)]
    launcher.stop(ticket.run_id)
    launcher.stop(ticket.run_id)
    house.server.exit_of(ticket)
    assert not any(map(alive, pids))


def test_stopping_what_is_not_there_is_no_error(launcher: Launcher) -> None:
    launcher.stop(new_id())


def test_live_runs_go_on_when_the_launcher_is_closed(launcher: Launcher, house: Household) -> None:
    ticket = house.ticket("work:stay", parameters={"path": str(house.notes)})
    launcher.launch(ticket)
    pids = [int(line) for line in house.noted(2)]
    launcher.close()
    launcher.close()
    assert all(map(alive, pids))
    launcher.stop(ticket.run_id)
    house.server.exit_of(ticket)

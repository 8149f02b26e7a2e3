"""When a server says that it is not ready, and why."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

import pytest

from penstock.control.health import STALL, check_ready
from penstock.errors import Unavailable
from tests.unit.control.conftest import House


@dataclass
class Thread:
    name: str = "dispatcher"
    beat: float = 0.0
    alive: bool = True


def wrong(house: House, *workers: Thread) -> list[str]:
    try:
        check_ready(house.here, workers)
    except Unavailable as error:
        return [one["pointer"] for one in error.errors]
    return []


def test_with_all_that_it_needs_it_is(house: House) -> None:
    assert wrong(house, Thread(beat=time.monotonic())) == []


def test_a_thread_that_is_gone_or_stuck_makes_it_useless(house: House) -> None:
    dead, stuck = Thread("dead", time.monotonic(), alive=False), Thread("stuck", time.monotonic() - STALL - 1)
    assert wrong(house, dead, stuck) == ["/dead", "/stuck"]


def test_so_do_a_full_disk_and_leaving(house: House) -> None:
    house.here.drain()
    house.here = replace(house.here, settings=replace(house.here.settings, min_disk=1 << 62))
    assert wrong(house) == ["/server", "/disk"]


def test_so_does_a_database_that_is_away_and_it_recovers(house: House) -> None:
    path = house.here.db.where
    house.here.db.close()
    os.rename(path, path + ".away")
    os.mkdir(path)
    assert wrong(house) == ["/database"]
    os.rmdir(path)
    os.rename(path + ".away", path)
    assert wrong(house) == []


def test_it_says_nothing_of_the_machine(house: House) -> None:
    house.here.db.close()
    os.rename(house.here.db.where, house.here.db.where + ".away")
    os.mkdir(house.here.db.where)
    with pytest.raises(Unavailable) as caught:
        check_ready(house.here, ())
    assert str(house.here.settings.home) not in str(caught.value.problem())

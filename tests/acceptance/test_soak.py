"""Nothing grows with the number of runs: memory, descriptors and threads stay as they are once everything is warm."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.acceptance.site_under_test import Site, eventually

CALLERS = 8


class Weight:
    """What the server and the supervisor hold."""

    def __init__(self, site: Site) -> None:
        assert site.process is not None
        found = [psutil.Process(site.process.pid), *_supervisors(site)]
        self.bytes = {one.pid: one.memory_info().rss for one in found}
        self.descriptors = {one.pid: one.num_fds() for one in found}
        self.threads = {one.pid: one.num_threads() for one in found}


def _supervisors(site: Site) -> list[psutil.Process]:
    def ours(one: psutil.Process) -> bool:
        try:
            return one.environ().get("PENSTOCK_HOME") == str(site.home)
        except psutil.Error:
            return False

    named = [
        one for one in psutil.process_iter(["cmdline"]) if "penstock.runtime.supervisor" in (one.info["cmdline"] or [])
    ]
    return [one for one in named if ours(one)]


def carry_out(site: Site, runs: int) -> None:
    """So many runs, some at a time, each with its own answer."""

    def one(number: int) -> None:
        ended = site.ended(site.trigger("lab", {"number": number})["id"])
        assert ended["outputs"] == {"output": {"value": number**2}}, ended

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(one, range(runs)))


def test_nothing_grows_with_the_number_of_runs(fresh: Site, request: pytest.FixtureRequest) -> None:
    warm, many = (1000, 20_000) if request.config.getoption("--full") else (100, 200)
    carry_out(fresh, warm)
    before = Weight(fresh)
    assert len(before.bytes) == 2
    carry_out(fresh, many)
    after = Weight(fresh)
    assert after.bytes.keys() == before.bytes.keys()  # nobody was started anew meanwhile
    told = f"after {warm} and {many} more: {before.bytes} {after.bytes}"
    print(told)
    assert all(after.bytes[pid] <= 1.1 * before.bytes[pid] + 20_000_000 for pid in after.bytes), told

    def flat(now: Callable[[Weight], dict[int, int]]) -> bool:
        late = now(Weight(fresh))
        return all(late[pid] <= number + 5 for pid, number in now(before).items())

    eventually(lambda: flat(lambda weight: weight.descriptors), what="descriptors are as many as before")
    eventually(lambda: flat(lambda weight: weight.threads), what="threads are as many as before")

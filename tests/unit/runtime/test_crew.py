"""Who carries out ready steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

from penstock.runtime.crew import Crew


class Work:
    """Jobs that note in which thread they ran, and the lock they share with their crew."""

    def __init__(self, helpers: int = 2) -> None:
        self.changed = threading.Condition()
        self.crew = Crew(self.changed, helpers, "crew")
        self.done: dict[str, str] = {}

    def add(self, id: str, then: Callable[[], None] = lambda: None) -> None:
        def carry_out() -> None:
            then()
            with self.changed:
                self.done[id] = threading.current_thread().name
                self.changed.notify_all()

        with self.changed:
            self.crew.add(id, carry_out)

    def wait_for(self, *ids: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: set(ids) <= set(self.done), timeout=20)

    def close(self) -> None:
        with self.changed:
            self.crew.close()


def test_jobs_that_follow_one_another_run_in_the_callers_thread() -> None:
    work = Work()
    here = threading.current_thread().name
    for number in range(20):
        work.add(str(number))
        work.crew.work_until(lambda number=number: str(number) in work.done)  # type: ignore[misc]
    work.close()
    assert set(work.done.values()) == {here}


def test_jobs_that_are_ready_at_once_run_side_by_side() -> None:
    work = Work()
    met = threading.Barrier(3, timeout=20)
    for name in ("a", "b", "c"):
        work.add(name, then=lambda: met.wait() and None)  # each waits for the other two
    work.crew.work_until(lambda: len(work.done) == 3)
    work.close()
    assert len(set(work.done.values())) == 3


def test_a_job_is_carried_out_even_if_the_caller_never_comes() -> None:
    work = Work()
    work.add("alone")
    work.wait_for("alone")
    work.close()
    assert work.done["alone"].startswith("crew-")


def test_a_caller_who_waits_for_one_job_takes_no_other() -> None:
    work = Work(helpers=1)
    release = threading.Event()
    work.add("long", then=lambda: release.wait(20) and None)
    work.add("wanted")
    work.crew.work_until(lambda: "wanted" in work.done, only={"wanted"})
    assert "long" not in work.done
    release.set()
    work.crew.work_until(lambda: "long" in work.done)
    work.close()


def test_helpers_leave_when_the_crew_is_closed() -> None:
    work = Work()
    before = threading.active_count()
    work.add("a")
    work.add("b")
    work.wait_for("a", "b")
    helpers = [thread for thread in threading.enumerate() if thread.name.startswith("crew-")]
    work.close()
    for thread in helpers:
        thread.join(20)
    assert threading.active_count() <= before

from __future__ import annotations

import fcntl
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.errors import NotFound
from penstock.ids import digest_of
from penstock.model.requirements import Requirements
from penstock.runtime.environments import Built, Environments

ONE, TWO = digest_of(b"one"), digest_of(b"two")
AGES = timedelta(days=30)


def fill(kept: Environments, work: Path, digest: str) -> None:
    """What a builder leaves: a Python, and the record."""
    (work / "bin").mkdir()
    (work / "bin" / "python").symlink_to(sys.executable)
    built = Built(
        digest=digest,
        python="3.11.7",
        requires=Requirements(packages=("tiny==1",)),
        packages=("tiny==1",),
        built=datetime.now(UTC),
        seconds=1.0,
        size=1,
    )
    kept.record(work, built)


def build(kept: Environments, digest: str, *, used: timedelta = timedelta()) -> None:
    with kept.building(digest) as work:
        assert work is not None
        fill(kept, work, digest)
    at = (datetime.now(UTC) - used).timestamp()
    os.utime(lock(kept, digest), (at, at))


def lock(kept: Environments, digest: str) -> Path:
    return Path(kept.executable(digest)).parents[2] / f"{digest}.lock"


@pytest.fixture
def kept(tmp_path: Path) -> Environments:
    return Environments(tmp_path / "home")


def left(kept: Environments) -> list[str]:
    return sorted(one.name for one in lock(kept, ONE).parent.iterdir() if not one.name.endswith(".lock"))


class TestBuilding:
    def test_it_is_there_whole_or_not_at_all(self, kept: Environments) -> None:
        assert kept.find(ONE) is None
        assert kept.all() == []
        with pytest.raises(RuntimeError):
            self.fail(kept)
        assert kept.find(ONE) is None
        assert left(kept) == []
        build(kept, ONE)
        found = kept.find(ONE)
        assert found is not None
        assert found.packages == ("tiny==1",)
        assert os.access(kept.executable(ONE), os.X_OK)
        with kept.building(ONE) as work:
            assert work is None

    def fail(self, kept: Environments) -> None:
        with kept.building(ONE) as work:
            assert work is not None
            fill(kept, work, ONE)
            assert kept.find(ONE) is None
            raise RuntimeError

    def test_one_builds_and_the_others_wait(self, kept: Environments) -> None:
        begun, go_on, built = threading.Event(), threading.Event(), []

        def first() -> None:
            with kept.building(ONE) as work:
                assert work is not None
                begun.set()
                go_on.wait(20)
                fill(kept, work, ONE)
                built.append("first")

        def second() -> None:
            with kept.building(ONE) as work:
                built.append("second" if work is None else "twice")

        one = threading.Thread(target=first)
        one.start()
        assert begun.wait(20)
        two = threading.Thread(target=second)
        two.start()
        assert kept.hold(ONE) is None
        go_on.set()
        one.join()
        two.join()
        assert built == ["first", "second"]

    def test_what_a_dead_builder_left_is_removed(self, kept: Environments) -> None:
        build(kept, TWO)
        root = lock(kept, ONE).parent
        for name in (f".building-{ONE}-dead", f".building-{TWO}-dead", ".removing-dead"):
            (root / name / "bin").mkdir(parents=True)
        build(kept, ONE)
        assert left(kept) == sorted([ONE, TWO, ".removing-dead", f".building-{TWO}-dead"])
        kept.prune(AGES)
        assert left(kept) == sorted([ONE, TWO])

    def test_one_whose_python_is_gone_is_built_again(self, kept: Environments) -> None:
        build(kept, ONE)
        python = Path(kept.executable(ONE))
        python.unlink()
        python.symlink_to("/nowhere/python")
        assert kept.find(ONE) is None
        build(kept, ONE)
        assert kept.find(ONE) is not None
        assert left(kept) == [ONE]


class TestPruning:
    def test_only_what_nobody_has_used_for_long_goes(self, kept: Environments) -> None:
        build(kept, ONE, used=timedelta(days=31))
        build(kept, TWO, used=timedelta(days=29))
        assert [one.digest for one in kept.prune(AGES, rehearse=True)] == [ONE]
        assert [one.digest for one in kept.all()] == [TWO, ONE]
        assert [one.digest for one in kept.prune(AGES)] == [ONE]
        assert left(kept) == [TWO]
        assert not lock(kept, ONE).exists()
        assert kept.prune(AGES) == []

    def test_what_is_in_use_stays_whatever_its_age(self, kept: Environments) -> None:
        build(kept, ONE, used=timedelta(days=31))
        hold = kept.hold(ONE)
        assert hold is not None
        os.utime(lock(kept, ONE), (0, 0))
        [one] = kept.all()
        assert one.in_use
        assert kept.prune(timedelta()) == []
        assert kept.find(ONE) is not None
        os.close(hold)
        assert [one.digest for one in kept.prune(timedelta())] == [ONE]
        assert kept.hold(ONE) is None

    def test_to_hold_one_is_to_use_it_and_to_look_is_not(self, kept: Environments) -> None:
        build(kept, ONE, used=timedelta(days=31))
        before = kept.all()[0].used
        assert kept.all()[0].used == before
        hold = kept.hold(ONE)
        assert hold is not None
        os.close(hold)
        assert kept.all()[0].used > before
        assert kept.prune(AGES) == []

    def test_a_lock_that_was_removed_is_no_lock_any_more(self, kept: Environments) -> None:
        build(kept, ONE)
        old = os.open(lock(kept, ONE), os.O_RDWR)
        fcntl.flock(old, fcntl.LOCK_EX)
        lock(kept, ONE).rename(lock(kept, ONE).with_suffix(".gone"))
        with kept.building(ONE) as work:
            assert work is None
        os.close(old)


def test_one_is_named_by_how_its_digest_begins(kept: Environments) -> None:
    build(kept, ONE)
    build(kept, TWO)
    assert kept.named(ONE[:6]).digest == ONE
    for reference in ("", "x"):
        with pytest.raises(NotFound):
            kept.named(reference)

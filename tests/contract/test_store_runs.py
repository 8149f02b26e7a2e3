"""What every database must do for what is run: runs, their steps, journals, artifacts, and answers kept under a key."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.ids import new_id
from penstock.model.artifact import Artifact, File
from penstock.model.decision import Decision, Verdict
from penstock.model.run import Cause, Failure, Run, RunState, StepState
from penstock.store import artifacts, decisions, events, idempotency, limits, logs, runs
from penstock.store.paging import Window
from penstock.store.runs import RunFilter
from penstock.store.session import Database, WriteSession
from tests.unit.store.samples import AT, HOSTILE, a_line, a_run, a_step, frozen, later


def queued(ws: WriteSession, count: int = 1) -> list[Run]:
    snapshot = frozen(ws)
    made = [a_run(snapshot) for _ in range(count)]
    for run in made:
        runs.insert(ws, run)
    return made


class TestRuns:
    def test_every_field_comes_back_equal(self, db: Database) -> None:
        with db.write() as ws:
            run = a_run(
                frozen(ws),
                name="r",
                state=RunState.FAILED,
                reason="a\x00b",
                template_id=new_id(),
                template_name="t",
                template_version=3,
                parameters=HOSTILE,
                step_parameters={"fit": {"rate": 1}},
                origins={"/parameters/rate": "request"},
                cause=Cause(kind="step", account="ci", parent_run_id=new_id(), parent_step="s"),
                tags=("z", "a"),
                outputs={"score": 1},
                error=Failure(type="ValueError", message="no\x00", traceback="...", step="fit"),
                fence=2,
                sequence=9,
                lease_owner="me",
                lease_expires=later(1),
                started=later(2),
                ended=later(3),
            )
            assert all(getattr(run, field.name) is not None for field in fields(Run))
            runs.insert(ws, run)
        with db.read() as rs:
            assert runs.get(rs, "r") == runs.get(rs, run.id) == run

    def test_a_name_is_taken_once(self, db: Database) -> None:
        with db.write() as ws:
            snapshot = frozen(ws)
            runs.insert(ws, a_run(snapshot, name="r"))
        with pytest.raises(Conflict, match="run named 'r'"), db.write() as ws:
            runs.insert(ws, a_run(snapshot, name="r"))
        with db.read() as rs, pytest.raises(NotFound, match="run 'other'"):
            runs.get(rs, "other")

    def test_a_claim_takes_the_oldest_and_says_how_they_are_now(self, db: Database) -> None:
        with db.write() as ws:
            assert (runs.has_queued(ws), runs.count_queued(ws)) == (False, 0)
            made = queued(ws, 3)
            assert (runs.has_queued(ws), runs.count_queued(ws)) == (True, 3)
            claimed = runs.claim(ws, "me", 2, later(10), at=later(0))
            assert [run.id for run in claimed] == [made[0].id, made[1].id]
            assert claimed == [runs.get(ws, run.id) for run in claimed]
            assert {(run.state, run.fence, run.lease_owner, run.lease_expires) for run in claimed} == {
                (RunState.STARTING, 1, "me", later(10))
            }
            assert [run.id for run in runs.claim(ws, "you", 5, later(10), at=later(0))] == [made[2].id]
            assert runs.claim(ws, "you", 5, later(10), at=later(0)) == []
            assert (runs.has_queued(ws), runs.count_queued(ws)) == (False, 0)

    def test_a_run_that_went_back_is_claimed_under_a_higher_fence(self, db: Database) -> None:
        with db.write() as ws:
            [run] = queued(ws)
            claimed = runs.claim_one(ws, run.id, "me", later(10))
            assert claimed is not None
            back = replace(claimed, state=RunState.QUEUED, sequence=7, lease_owner=None, lease_expires=None)
            assert runs.save(ws, back)
            again = runs.claim_one(ws, run.id, "you", later(20))
            assert again is not None
            assert (again.fence, again.sequence, again.lease_owner) == (2, 0, "you")
            assert runs.save(ws, replace(claimed, state=RunState.RUNNING)) is False
            assert runs.get(ws, run.id) == again
            assert runs.claim_one(ws, run.id, "me", later(30)) is None
            assert runs.claim_one(ws, new_id(), "me", later(30)) is None

    def test_what_has_ended_is_never_written_again(self, db: Database) -> None:
        with db.write() as ws:
            [run] = queued(ws)
            ended = replace(run, state=RunState.COMPLETED, outputs={"a": 1}, ended=later(1))
            assert runs.save(ws, ended)
            assert runs.save(ws, replace(run, state=RunState.FAILED)) is False
            assert runs.get(ws, run.id) == ended

    def test_leases(self, db: Database) -> None:
        with db.write() as ws:
            made = queued(ws, 4)
            first, second, third = runs.claim(ws, "me@here", 3, later(10), at=later(0))
            runs.claim_one(ws, made[3].id, "you@there", later(30))
            assert runs.renew(ws, "me@here", [(first.id, 1)], later(50)) == {first.id: RunState.STARTING}
            assert runs.expired(ws, later(9.9)) == []
            assert [run.id for run in runs.expired(ws, later(10))] == [second.id, third.id]
            assert [run.id for run in runs.expired(ws, later(30), limit=1)] == [second.id]
            assert [run.id for run in runs.held_in(ws, "@here")] == [first.id, second.id, third.id]
            assert (runs.count_active(ws), runs.count_active(ws, "@there"), runs.count_active(ws, "@here")) == (4, 1, 3)
            assert runs.save(ws, replace(third, state=RunState.FAILED, lease_owner=None, lease_expires=None))
            assert (runs.count_active(ws), runs.count_active(ws, "@here")) == (3, 2)
            assert limits.hold_on(ws, "@here", later(45)) == 1
            leases = {run.id: run.lease_expires for run in runs.expired(ws, later(60))}
            assert leases == {first.id: later(50), second.id: later(45), made[3].id: later(30)}
            assert runs.renew(ws, f"direct:{first.id}", [(first.id, 1)], later(50))
            assert (runs.count_active(ws, "@here"), runs.count_active(ws, "@there")) == (
                2,
                2,
            )  # whose home is not known

    def test_a_lease_is_renewed_by_whoever_knows_its_fence(self, db: Database) -> None:
        with db.write() as ws:
            made = queued(ws, 5)
            taken, ended, older, cancelling = runs.claim(ws, "dispatcher", 4, later(10), at=later(0))
            assert runs.save(ws, replace(cancelling, state=RunState.CANCELLING))
            assert runs.save(ws, replace(ended, state=RunState.FAILED, lease_owner=None, lease_expires=None))
            held = [(taken.id, 1), (ended.id, 1), (older.id, 0), (cancelling.id, 1), (made[4].id, 0), (new_id(), 1)]
            assert runs.renew(ws, "supervisor", held, later(50)) == {
                taken.id: RunState.STARTING,
                cancelling.id: RunState.CANCELLING,
            }
            assert runs.renew(ws, "supervisor", [], later(50)) == {}
            assert [run.id for run in runs.held_in(ws, "supervisor")] == [taken.id, cancelling.id]
            assert [run.id for run in runs.held_in(ws, "dispatcher")] == [older.id]
            assert runs.get(ws, taken.id).lease_expires == later(50)
            assert runs.get(ws, ended.id).lease_expires is None
            assert runs.get(ws, made[4].id).lease_owner is None

    def test_lists_can_be_narrowed(self, db: Database) -> None:
        with db.write() as ws:
            one, two = frozen(ws, "a"), frozen(ws, "b")
            template = {"template_id": new_id(), "template_name": "nightly", "template_version": 1}
            first = a_run(one, name="first", tags=("x", "y"), **template)
            second = a_run(two, name="second", tags=("x",), state=RunState.RUNNING)
            for run in (first, second):
                runs.insert(ws, run)
        with db.read() as rs:
            for wanted in (
                RunFilter(states=(RunState.QUEUED,)),
                RunFilter(pipeline="a"),
                RunFilter(pipeline=one.pipeline_id),
                RunFilter(template="nightly"),
                RunFilter(template=first.template_id),
                RunFilter(snapshot_id=one.id),
                RunFilter(name="first"),
                RunFilter(tags=("y",)),
                RunFilter(tags=("x",), pipeline="a", states=(RunState.QUEUED, RunState.FAILED)),
            ):
                found = runs.page(rs, Window(), wanted)
                assert (found.items, found.total, found.next) == ((first,), 1, None)
            assert runs.page(rs, Window(), RunFilter(tags=("x",))).items == (second, first)
            for nothing in (RunFilter(pipeline="c"), RunFilter(tags=("z",)), RunFilter(states=(RunState.FAILED,))):
                assert runs.page(rs, Window(), nothing).total == 0

    def test_they_are_found_by_words(self, db: Database) -> None:
        with db.write() as ws:
            train, score = frozen(ws, "train_model"), frozen(ws, "score")
            made = {
                "named": a_run(train, name="Nightly-7 for ACME"),
                "plain": a_run(train, template_id=None, template_name=None),
                "score": a_run(score, name="score-1", template_id=None, template_name=None),
            }
            for run in made.values():
                runs.insert(ws, run)

        def found(*words: str, **more: Any) -> list[str]:
            with db.read() as rs:
                page = runs.page(rs, Window(), RunFilter(words=words, **more))
                assert page.total == len(page.items)
                return sorted(name for name, run in made.items() if run.id in {one.id for one in page.items})

        assert found("acme") == ["named"]
        assert found("acme", "nightly") == ["named"]
        assert found("acme", "daily") == found("acm") == found("%") == []
        assert found("train") == found("mod", "train") == ["named", "plain"]
        assert found("score") == ["score"]
        assert found("train", states=(RunState.FAILED,)) == []

    def test_pages_of_a_search_follow_one_another(self, db: Database) -> None:
        with db.write() as ws:
            snapshot = frozen(ws, "train")
            all_ids = []
            for number in range(7):
                run = a_run(snapshot, name=f"train {number}")  # found in two ways
                runs.insert(ws, run)
                all_ids.append(run.id)
        with db.read() as rs:
            for oldest_first in (False, True):
                ids, cursor = [], None
                while True:
                    window = Window(size=3, cursor=cursor, oldest_first=oldest_first)
                    page = runs.page(rs, window, RunFilter(words=("train",)))
                    ids += [run.id for run in page.items]
                    cursor = page.next
                    if cursor is None:
                        break
                assert ids == sorted(all_ids, reverse=not oldest_first)
            assert runs.page(rs, Window(size=3, page=2), RunFilter(words=("train",))).items[0].id == all_ids[3]
            with pytest.raises(InvalidInput, match="search"):
                runs.page(rs, Window(size=200, page=6), RunFilter(words=("train",)))

    def test_they_are_found_by_who_when_and_which_version(self, db: Database) -> None:
        with db.write() as ws:
            first, second = (a_run(frozen(ws), tags=tags, template_version=4) for tags in (("x", "y"), ("x",)))
            runs.insert(ws, first)
            runs.insert(ws, second)
        hour = timedelta(hours=1)
        at = datetime.now(UTC)
        with db.read() as rs:
            both, none = 2, 0
            for wanted, total in (
                (RunFilter(account=first.cause.account), both),
                (RunFilter(account="nobody"), none),
                (RunFilter(version=first.template_version), both),
                (RunFilter(version=99), none),
                (RunFilter(created_after=at - hour, created_before=at + hour), both),
                (RunFilter(created_after=at + hour), none),
                (RunFilter(created_before=at - hour), none),
                (RunFilter(tags=("x", "y")), 1),
                (RunFilter(states=(RunState.QUEUED, RunState.RUNNING)), both),
            ):
                assert runs.page(rs, Window(), wanted).total == total
                assert runs.count(rs, wanted) == total

    @pytest.mark.parametrize("wanted", [RunFilter(), RunFilter(tags=("x",))])
    @pytest.mark.parametrize("oldest_first", [False, True])
    def test_a_cursor_meets_each_run_once_whatever_is_added(
        self, db: Database, wanted: RunFilter, oldest_first: bool
    ) -> None:
        with db.write() as ws:
            snapshot = frozen(ws)
            made = [a_run(snapshot, tags=("x",)) for _ in range(7)]
            for run in made:
                runs.insert(ws, run)
        met, cursor = [], None
        while True:
            with db.write() as ws:
                found = runs.page(ws, Window(size=3, cursor=cursor, oldest_first=oldest_first), wanted)
                assert found.total == 7 + len(met) // 3
                runs.insert(ws, a_run(snapshot, tags=("x",)))
            met += [run.id for run in found.items if run in made]
            cursor = found.next
            if cursor is None or len(met) >= 7:
                break
        expected = [run.id for run in made]
        assert met == (expected if oldest_first else expected[::-1])

    def test_pages_have_numbers_too(self, db: Database) -> None:
        with db.write() as ws:
            made = queued(ws, 5)
        with db.read() as rs:
            pages = [runs.page(rs, Window(size=2, page=number), RunFilter()) for number in (1, 2, 3, 4)]
        assert [run for page in pages for run in page.items] == made[::-1]
        assert [page.next is None for page in pages] == [False, False, True, True]


class TestStepRuns:
    def test_known_ones_are_written_anew_and_keep_their_identity(self, db: Database) -> None:
        with db.write() as ws:
            [run] = queued(ws)
            first = a_step(run, "load", upstream=("x",), parameters=HOSTILE)
            runs.save_steps(ws, [first])
            done = replace(
                first,
                state=StepState.FAILED,
                reason="a\x00b",
                inputs={"a": "b"},
                outputs={"c": "d"},
                error=Failure(type="E", message="m"),
                metadata={"k": 1},
                started=later(1),
                ended=later(2),
            )
            second = a_step(run, "fit")
            runs.save_steps(ws, [replace(done, id=new_id(), name="other", created=later(9)), second])
        with db.read() as rs:
            assert runs.steps(rs, run.id) == {"load": done, "fit": second}
            assert list(runs.steps(rs, run.id)) == ["load", "fit"]
            assert runs.get_step(rs, first.id) == done
            assert runs.steps(rs, run.id, named={"fit", "unknown"}) == {"fit": second}
            assert runs.steps(rs, run.id, named=()) == {}
            assert runs.steps(rs, run.id, named=(), unended=True) == {"fit": second}
            assert runs.page_steps(rs, Window(), run_id=run.id).items == (second, done)
            assert runs.page_steps(rs, Window(), states=(StepState.FAILED,)).items == (done,)
            assert runs.page_steps(rs, Window(), run_id=new_id()).total == 0
            with pytest.raises(NotFound):
                runs.get_step(rs, new_id())

    def test_nothing_to_save_is_no_statement(self, db: Database) -> None:
        with db.write() as ws:
            runs.save_steps(ws, [])


class TestJournals:
    def test_entries_are_numbered_inside_their_run(self, db: Database) -> None:
        with db.write() as ws:
            one, other = queued(ws, 2)
            entries = [events.Entry(at=later(n), type="step_started", step=f"s{n}", data=HOSTILE) for n in range(3)]
            assert events.append(ws, one.id, entries) == 3
            assert events.append(ws, one.id, entries[:1]) == 4
            assert events.append(ws, one.id, []) == 4
            assert events.append(ws, other.id, entries[:1]) == 1
        with db.read() as rs:
            found = events.after(rs, one.id, 0)
            assert [entry.number for entry in found] == [1, 2, 3, 4]
            assert [replace(entry, number=0) for entry in found[:3]] == entries
            assert [entry.number for entry in events.after(rs, one.id, 1, limit=2)] == [2, 3]
            assert events.after(rs, one.id, 4) == []

    def test_lines_keep_their_order_and_each_run_has_its_own(self, db: Database) -> None:
        with db.write() as ws:
            one, other = queued(ws, 2)
            batch = [a_line("1", "a"), a_line("2"), a_line("3\x00", "a"), a_line("4", "b")]
            assert logs.append(ws, one.id, batch) == 4
            assert logs.append(ws, other.id, [a_line("x", "a")]) == 1
            assert logs.append(ws, one.id, [a_line("5", "a")]) == 5
            assert logs.append(ws, one.id, []) == 5
        with db.read() as rs:
            assert logs.after(rs, one.id) == ([*batch, a_line("5", "a")], 5)
            assert logs.after(rs, one.id, 1, limit=2) == (batch[1:3], 3)
            assert logs.after(rs, one.id, 5) == ([], 5)
            assert logs.after(rs, one.id, step="a") == ([batch[0], batch[2], a_line("5", "a")], 5)
            assert logs.after(rs, one.id, 1, step="a", limit=1) == ([batch[2]], 3)
            assert logs.after(rs, one.id, step="none") == ([], 0)


class TestArtifacts:
    def test_it_never_changes(self, db: Database) -> None:
        with db.write() as ws:
            [run] = queued(ws)
            artifact = Artifact(
                id=new_id(),
                digest="d" * 64,
                files=(File(name="data.json", digest="e" * 64, size=2**40),),
                size=2**40,
                type="builtins.dict",
                materializer="json",
                code_bearing=True,
                metadata=HOSTILE,
                run_id=run.id,
                step="fit",
                output="output",
                created=AT,
            )
            loose = replace(artifact, id=new_id(), run_id=None, step="load", code_bearing=False)
            artifacts.insert(ws, [artifact, loose])
            artifacts.insert(ws, [replace(artifact, type="evil")])
            artifacts.insert(ws, [])
        with db.read() as rs:
            assert artifacts.get(rs, artifact.id) == artifact
            assert artifacts.get_many(rs, [artifact.id, loose.id, new_id()]) == {artifact.id: artifact, loose.id: loose}
            assert artifacts.get_many(rs, []) == {}
            assert artifacts.page(rs, Window()).items == (loose, artifact)
            assert artifacts.page(rs, Window(), run_id=run.id).items == (artifact,)
            assert artifacts.page(rs, Window(), step="load").items == (loose,)
            with pytest.raises(NotFound):
                artifacts.get(rs, new_id())


class TestDecisions:
    def test_they_are_found_by_what_they_are_about_and_forgotten_when_old(self, db: Database) -> None:
        made = [
            Decision(
                id=new_id(),
                at=later(number),
                verdict=Verdict.REFUSED if number % 2 else Verdict.STARTED,
                target="template a\x00b",
                template="a\x00b" if number < 2 else None,
                run_id=None if number % 2 else "r",
                kind="api",
                account=f"account-{number}",
                status=422,
                detail="no\x00",
                pointers=("/parameters/x",),
            )
            for number in range(4)
        ]
        with db.write() as ws:
            for one in made:
                decisions.insert(ws, one)
        with db.read() as rs:
            assert decisions.get(rs, made[0].id) == made[0]
            assert list(decisions.page(rs, Window()).items) == made[::-1]
            assert list(decisions.page(rs, Window(), verdict=Verdict.REFUSED).items) == [made[3], made[1]]
            assert list(decisions.page(rs, Window(), template="a\x00b").items) == [made[1], made[0]]
            assert list(decisions.page(rs, Window(), run_id="r").items) == [made[2], made[0]]
            assert list(decisions.page(rs, Window(), account="account-3").items) == [made[3]]
            with pytest.raises(NotFound):
                decisions.get(rs, new_id())
        with db.write() as ws:
            assert [decisions.purge(ws, later(2)) for _ in range(2)] == [2, 0]
        with db.read() as rs:
            assert list(decisions.page(rs, Window()).items) == made[:1:-1]


class TestIdempotency:
    def test_the_first_answer_stands_until_it_expires(self, db: Database) -> None:
        with db.write() as ws:
            one, other = queued(ws, 2)
            answer = idempotency.Answer(
                scope="ci", key="k", fingerprint="f" * 64, run_id=one.id, status=202, created=AT, expires=later(60)
            )
            assert idempotency.insert(ws, answer) is True
            assert idempotency.insert(ws, replace(answer, run_id=other.id)) is False
            assert idempotency.insert(ws, replace(answer, scope="other")) is True
            assert idempotency.find(ws, "ci", "k", later(59)) == answer
            assert idempotency.find(ws, "ci", "k", later(60)) is None
            assert idempotency.find(ws, "ci", "unknown", AT) is None
            newer = replace(answer, run_id=other.id, created=later(60), expires=later(120))
            assert idempotency.insert(ws, newer) is True
            assert idempotency.find(ws, "ci", "k", later(60)) == newer

    def test_a_key_may_stand_until_its_run_has_ended(self, db: Database) -> None:
        with db.write() as ws:
            one, other = queued(ws, 2)
            answer = idempotency.Answer(
                scope="ci",
                key="k",
                fingerprint="f" * 64,
                run_id=one.id,
                status=202,
                created=AT,
                expires=later(60),
                until_terminal=True,
                attempt="call",
            )
            assert idempotency.insert(ws, answer) is True
            assert idempotency.find(ws, "ci", "k", later(10**6)) == answer
            assert idempotency.insert(ws, replace(answer, run_id=other.id, created=later(10**6))) is False
            assert idempotency.purge(ws, later(10**6)) == 0
            runs.save(ws, replace(one, state=RunState.COMPLETED, ended=later(1)))
            assert idempotency.purge(ws, later(10**6)) == 1
            assert idempotency.insert(ws, answer) is True
            idempotency.forget(ws, "ci", "k")
            assert idempotency.find(ws, "ci", "k", AT) is None

    def test_only_what_has_expired_is_forgotten(self, db: Database) -> None:
        with db.write() as ws:
            [run] = queued(ws)
            for number in range(1200):
                answer = idempotency.Answer(
                    scope="ci",
                    key=str(number),
                    fingerprint="f" * 64,
                    run_id=run.id,
                    status=202,
                    created=AT,
                    expires=later(number),
                )
                idempotency.insert(ws, answer)
            assert idempotency.purge(ws, later(-1)) == 0
            assert idempotency.purge(ws, later(1099)) == 1001
            assert idempotency.purge(ws, later(1099)) == 99
            assert idempotency.purge(ws, later(1099)) == 0
            assert idempotency.find(ws, "ci", "1100", AT) is not None

"""What every database must do for what is defined: pipelines, snapshots, templates, stacks, accounts, code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.ids import new_id
from penstock.model.account import Account, ApiKey, new_key_text
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.stack import Component, Stack
from penstock.model.template import AliasMove
from penstock.model.terms import Terms
from penstock.store import (
    accounts,
    code,
    pipelines,
    runs,
    snapshots,
    stacks,
    templates,
)
from penstock.store.paging import Window
from penstock.store.runs import RunFilter
from penstock.store.session import Database, WriteSession
from tests.unit.store.samples import AT, CODE, HOSTILE, a_run, a_template, frozen, later


class TestPipelines:
    def test_a_name_has_one_pipeline(self, db: Database) -> None:
        with db.write() as ws:
            first = pipelines.get_or_create(ws, "train", AT)
            assert pipelines.get_or_create(ws, "train", later(1)) == first
        with db.read() as rs:
            assert pipelines.get(rs, "train") == pipelines.get(rs, first.id) == first
            assert (first.created, first.latest_snapshot_id) == (AT, None)

    def test_an_unknown_one_is_named(self, db: Database) -> None:
        with db.read() as rs, pytest.raises(NotFound, match="pipeline 'trian'"):
            pipelines.get(rs, "trian")

    def test_a_list_can_be_narrowed_to_a_name(self, db: Database) -> None:
        with db.write() as ws:
            made = [pipelines.get_or_create(ws, name, AT) for name in ("a", "b")]
        with db.read() as rs:
            assert pipelines.page(rs, Window()).items == (made[1], made[0])
            assert pipelines.page(rs, Window(), name="a").items == (made[0],)
            assert pipelines.page(rs, Window(), name="c").total == 0


class TestSnapshots:
    def test_content_comes_back_equal(self, db: Database) -> None:
        with db.write() as ws:
            snapshot = frozen(ws, given=PipelineRunConfiguration(extra=HOSTILE), description="a\x00b")
        with db.read() as rs:
            found = snapshots.get(rs, snapshot.id)
        assert found == snapshot
        assert found.content.digest() == snapshot.content.digest()

    def test_the_same_twice_is_one_and_what_was_frozen_last_is_the_latest(self, db: Database) -> None:
        with db.write() as ws:
            first, second = frozen(ws), frozen(ws, description="changed")
            assert pipelines.get(ws, "train").latest_snapshot_id == second.id
            assert snapshots.insert(ws, replace(first, created=later(5))) is False
            assert pipelines.get(ws, "train").latest_snapshot_id == first.id
            assert snapshots.get(ws, first.id).created == AT
            assert snapshots.page(ws, Window()).items == (second, first)

    def test_one_without_code_is_the_latest_but_not_the_latest_runnable(self, db: Database) -> None:
        with db.write() as ws:
            pipeline = pipelines.get_or_create(ws, "train", AT)
            assert snapshots.latest_runnable(ws, pipeline.id) is None
            bare = frozen(ws, code=None, code_note="notebook")
            assert snapshots.latest_runnable(ws, pipeline.id) is None
            whole = frozen(ws)
            assert snapshots.insert(ws, bare) is False
            assert snapshots.latest_runnable(ws, pipeline.id) == whole
            assert pipelines.get(ws, "train").latest_snapshot_id == bare.id

    def test_a_name_belongs_to_one_snapshot_of_a_pipeline(self, db: Database) -> None:
        with db.write() as ws:
            first, second = frozen(ws), frozen(ws, description="changed")
            for name, snapshot in (("prod", first), ("best", first), ("prod", second)):
                snapshots.set_name(ws, snapshot.pipeline_id, name, snapshot.id)
        with db.read() as rs:
            assert snapshots.by_name(rs, "prod") == replace(second, names=("prod",))
            assert snapshots.get(rs, first.id).names == ("best",)
            assert [one.id for one in snapshots.page(rs, Window(), name="best").items] == [first.id]
            with pytest.raises(NotFound, match="'gone' of pipeline 'train'"):
                snapshots.by_name(rs, "gone", "train")

    def test_a_name_in_several_pipelines_needs_the_pipeline(self, db: Database) -> None:
        with db.write() as ws:
            made = {pipeline: frozen(ws, pipeline) for pipeline in ("a", "b")}
            for snapshot in made.values():
                snapshots.set_name(ws, snapshot.pipeline_id, "prod", snapshot.id)
        with db.read() as rs:
            with pytest.raises(InvalidInput) as refused:
                snapshots.by_name(rs, "prod")
            assert refused.value.errors[0]["allowed"] == ["a", "b"]
            assert snapshots.by_name(rs, "prod", "b").id == made["b"].id
            assert snapshots.by_name(rs, "prod", made["a"].pipeline_id).id == made["a"].id
            assert [one.id for one in snapshots.page(rs, Window(), pipeline="a").items] == [made["a"].id]


class TestTemplates:
    def test_it_comes_back_equal(self, db: Database) -> None:
        with db.write() as ws:
            template = a_template(frozen(ws), "nightly", description="a\x00b", tags=("z", "a"))
            templates.insert(ws, template)
        with db.read() as rs:
            assert templates.get(rs, "nightly") == templates.get(rs, template.id) == template

    def test_a_name_is_taken_once_and_the_refusal_leaves_nothing(self, db: Database) -> None:
        with db.write() as ws:
            templates.insert(ws, a_template(frozen(ws), "nightly"))
        with pytest.raises(Conflict, match="template named 'nightly'"), db.write() as ws:
            templates.insert(ws, a_template(frozen(ws, "other"), "nightly"))
        with db.read() as rs:
            assert templates.page(rs, Window()).total == 1
            assert pipelines.page(rs, Window()).total == 1

    def test_versions_count_up(self, db: Database) -> None:
        with db.write() as ws:
            first, second = frozen(ws), frozen(ws, description="changed")
            template = a_template(first, "nightly")
            templates.insert(ws, template)
            published = templates.publish(ws, template.id, second.id, later(1))
            assert (published.version, published.snapshot_id) == (2, second.id)
            assert templates.get(ws, "nightly").latest == published
        with db.write() as ws, pytest.raises(NotFound):
            templates.publish(ws, new_id(), first.id, AT)

    def test_description_and_tags_can_be_written_anew(self, db: Database) -> None:
        with db.write() as ws:
            template = a_template(frozen(ws), "nightly", tags=("a", "b"))
            templates.insert(ws, template)
            changed = replace(template, description="new", tags=("b", "c", "b"))
            templates.save(ws, changed)
        with db.read() as rs:
            assert templates.get(rs, "nightly") == changed
            assert templates.page(rs, Window(), tags=("a",)).items == ()
            assert templates.page(rs, Window(), tags=("c",)).items == (changed,)

    def test_lists_can_be_narrowed(self, db: Database) -> None:
        with db.write() as ws:
            made = [a_template(frozen(ws, name), f"{name}-nightly") for name in ("a", "b")]
            for template in made:
                templates.insert(ws, template)
        with db.read() as rs:
            assert templates.page(rs, Window()).items == (made[1], made[0])
            for narrowed in ({"pipeline": "a"}, {"pipeline": made[0].pipeline_id}, {"name": "a-nightly"}):
                assert templates.page(rs, Window(), **narrowed).items == (made[0],)

    def test_removing_one_leaves_its_runs(self, db: Database) -> None:
        with db.write() as ws:
            snapshot = frozen(ws)
            template = a_template(snapshot, "nightly", tags=("a",))
            templates.insert(ws, template)
            run = a_run(snapshot, template_id=template.id, template_name="nightly", template_version=1)
            runs.insert(ws, run)
        with db.write() as ws:
            assert templates.remove(ws, template.id) is True
            assert templates.remove(ws, template.id) is False
        with db.read() as rs:
            assert runs.get(rs, run.id) == run
            for ref in (template.id, "nightly"):
                assert runs.page(rs, Window(), RunFilter(template=ref)).items == (run,)


class TestAliases:
    def test_an_alias_is_moved_and_its_history_is_kept(self, db: Database) -> None:
        with db.write() as ws:
            first, second = frozen(ws), frozen(ws, description="other")
            template = a_template(first, "nightly")
            templates.insert(ws, template)
            templates.insert(ws, a_template(first, "other"))
            templates.publish(ws, template.id, second.id, later(1))
            moved = [
                templates.move(ws, template.id, alias, version, a_move(note="a\x00b"))
                for alias, version in (("prod", 1), ("staging", 2), ("prod", 2), ("staging", None))
            ]
        with db.read() as rs:
            assert templates.get(rs, "nightly").aliases == {"prod": 2}
            assert templates.get(rs, "other").aliases == {}
            assert templates.moves(rs, template.id, "prod") == [moved[2], moved[0]]
            assert [(one.number, one.version) for one in templates.moves(rs, template.id, "staging")] == [
                (2, None),
                (1, 2),
            ]
            assert templates.moves(rs, template.id, "prod", limit=1) == [moved[2]]
            assert templates.moves(rs, template.id, "none") == []
        with db.write() as ws:
            templates.remove(ws, template.id)
        with pytest.raises(NotFound), db.write() as ws:
            templates.move(ws, template.id, "prod", 1, a_move())
        with db.read() as rs:
            assert templates.moves(rs, template.id, "prod") == []

    def test_terms_are_written_over_those_that_were_read(self, db: Database) -> None:
        with db.write() as ws:
            template = a_template(frozen(ws), "nightly")
            templates.insert(ws, template)
        said = PipelineRunConfiguration(parameters=HOSTILE, tags=("t",))
        terms = Terms(defaults=said, presets={"p": said}, locked={"a": HOSTILE}, hidden=("a",))
        with db.write() as ws:
            assert templates.set_terms(ws, template, terms)
        with db.write() as ws:
            assert not templates.set_terms(ws, template, Terms())
        with db.read() as rs:
            kept = templates.get(rs, "nightly")
            assert (kept.terms, kept.revision) == (terms, 2)


def a_move(note: str | None = None) -> AliasMove:
    return AliasMove(alias="", number=0, version=None, at=AT, account="owner", note=note)


class TestStacks:
    def test_a_name_has_one_stack(self, db: Database) -> None:
        options = {"root": "/data", "nested": {"a": [1]}}
        stack = Stack(
            id=new_id(),
            name="default",
            components={"artifact_store": Component(flavor="file", options=options)},
            created=AT,
        )
        with db.write() as ws:
            assert stacks.ensure(ws, stack) is True
            assert stacks.ensure(ws, replace(stack, id=new_id(), components={})) is False
        with db.read() as rs:
            assert stacks.get(rs, "default") == stacks.get(rs, stack.id) == stack
            assert stacks.page(rs, Window(), name="default").items == (stack,)
            with pytest.raises(NotFound):
                stacks.get(rs, "other")
        with pytest.raises(Conflict, match="stack named 'default'"), db.write() as ws:
            stacks.insert(ws, replace(stack, id=new_id()))


class TestAccounts:
    def account(self, ws: WriteSession, name: str = "ci") -> Account:
        account = Account(id=new_id(), name=name, role="editor", description="a\x00b", created=AT)
        accounts.insert(ws, account)
        return account

    def key(self, account: Account, name: str = "k") -> ApiKey:
        return ApiKey(id=new_id(), account_id=account.id, name=name, created=AT, expires=later(60))

    def test_it_comes_back_equal_and_goes_with_its_keys(self, db: Database) -> None:
        text = new_key_text()
        with db.write() as ws:
            account = self.account(ws)
            key = self.key(account)
            accounts.insert_key(ws, key, text)
        with db.read() as rs:
            assert accounts.get(rs, "ci") == accounts.get(rs, account.id) == account
            assert accounts.page(rs, Window(), name="ci", kind="service").items == (account,)
            assert accounts.page(rs, Window(), kind="owner").total == 0
            found = accounts.credential(rs, text.public)
            assert found == accounts.Credential(account=account, key=key, digest=text.digest(), valid_until=None)
        with db.write() as ws:
            assert accounts.remove(ws, account.id) is True
            assert accounts.remove(ws, account.id) is False
        with db.read() as rs:
            assert accounts.credential(rs, text.public) is None
            with pytest.raises(NotFound, match="account 'ci'"):
                accounts.get(rs, "ci")

    def test_names_are_taken_once(self, db: Database) -> None:
        with db.write() as ws:
            account = self.account(ws)
            accounts.insert_key(ws, self.key(account), new_key_text())
            accounts.insert_key(ws, self.key(self.account(ws, "other")), new_key_text())
        with pytest.raises(Conflict, match="account named 'ci'"), db.write() as ws:
            self.account(ws)
        with pytest.raises(Conflict, match="key named 'k'"), db.write() as ws:
            accounts.insert_key(ws, self.key(account), new_key_text())

    def test_a_revoked_key_stays_on_record_and_frees_its_name(self, db: Database) -> None:
        text = new_key_text()
        with db.write() as ws:
            account = self.account(ws)
            old, new = self.key(account), self.key(account)
            accounts.insert_key(ws, old, text)
            assert accounts.revoke_key(ws, old.id) is True
            assert accounts.revoke_key(ws, old.id) is False
            assert accounts.credential(ws, text.public) is None
            assert accounts.get_key(ws, account.id, "k") == replace(old, active=False)
            accounts.insert_key(ws, new, new_key_text())
            assert accounts.get_key(ws, account.id, "k") == new
            assert accounts.get_key(ws, account.id, old.id) == replace(old, active=False)
            assert accounts.page_keys(ws, account.id, Window()).items == (new, replace(old, active=False))
            with pytest.raises(NotFound):
                accounts.get_key(ws, new_id(), "k")

    def test_while_it_is_rotated_a_key_has_two_secrets(self, db: Database) -> None:
        first, second, third = (new_key_text() for _ in range(3))
        with db.write() as ws:
            key = self.key(self.account(ws))
            accounts.insert_key(ws, key, first)
            accounts.rotate_key(ws, key.id, second, now=AT, until=later(60))
            assert accounts.credential(ws, first.public).valid_until == later(60)
            assert accounts.credential(ws, second.public).valid_until is None
            accounts.rotate_key(ws, key.id, third, now=later(60), until=later(60))
            assert accounts.credential(ws, first.public) is None
            assert accounts.credential(ws, second.public) is None
            accounts.touch_key(ws, key.id, later(61))
            assert accounts.credential(ws, third.public).key == replace(key, prefix=third.prefix, last_used=later(61))


class TestCode:
    def test_an_archive_is_noted_once(self, db: Database, tmp_path: pytest.TempPathFactory) -> None:
        with db.write() as ws:
            assert code.record(ws, CODE, 5, AT) is True
            assert code.record(ws, CODE, 5, AT) is False
            assert code.exists(ws, tmp_path, CODE) is False  # noted, but the file is gone
            code.path(tmp_path, CODE).write_bytes(b"bytes")
            assert code.exists(ws, tmp_path, CODE) is True
            assert code.exists(ws, tmp_path, "d" * 64) is False

"""Run templates: publish, see, run, delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, Unpack

from penstock.client.configuration import Configuration
from penstock.client.connection import Connection, given, path
from penstock.client.page import Page
from penstock.client.runs import Runs, Start
from penstock.model import reading
from penstock.model.decision import Usage
from penstock.model.difference import Difference
from penstock.model.idempotency import IdempotencyKey
from penstock.model.plan import Plan
from penstock.model.run import Run
from penstock.model.template import AliasMove, Template, TemplateDetail
from penstock.model.terms import Terms
from penstock.model.terms import said as terms_said


class TemplateFilter(TypedDict, total=False):
    """What a list of templates can be narrowed by. Several tags, or words in `q`: all of them."""

    name: str | None
    pipeline: str | None
    pipeline_id: str | None
    tag: str | Iterable[str] | None
    q: str | None
    page: int | None


class Templates:
    """A `ref` is an id, a name (the version that its alias `default` means, or the latest), `name@vN` or `name@alias`."""

    def __init__(self, connection: Connection, runs: Runs) -> None:
        self._connection, self._runs = connection, runs

    def create(
        self,
        name: str,
        *,
        snapshot_id: str | None = None,
        run_id: str | None = None,
        description: str | None = None,
        tags: Iterable[str] = (),
    ) -> Template:
        """Publish a snapshot, or the one that a run used, under `name`.

        A new name makes a template, a known one gets a new version; the same snapshot again changes nothing.
        """
        body = given(
            name=name, snapshot_id=snapshot_id, run_id=run_id, description=description, tags=list(tags) or None
        )
        return self._connection.fetch(Template, "POST", "/run_templates", json=body)

    def get(self, ref: str) -> TemplateDetail:
        """The template with what is needed to fill it in. Raises `NotFound`."""
        return self._connection.fetch(TemplateDetail, "GET", path("run_templates", ref))

    def openapi(self, ref: str) -> dict[str, Any]:
        """The OpenAPI document of this version of the template, for generating a typed client. Raises `NotFound`."""
        return self._connection.fetch(dict[str, Any], "GET", path("run_templates", ref, "openapi.json"))

    def list(self, *, size: int = 20, cursor: str | None = None, **filters: Unpack[TemplateFilter]) -> Page[Template]:
        """One page of templates."""
        query = {"size": size, "cursor": cursor, **filters}
        return self._connection.fetch(Page[Template], "GET", "/run_templates", query=query)

    def annotate(self, ref: str, *, add_tags: Iterable[str] = (), remove_tags: Iterable[str] = ()) -> Template:
        """Put tags on the template, and take others off."""
        body = {"add_tags": list(add_tags), "remove_tags": list(remove_tags)}
        return self._connection.fetch(Template, "PATCH", path("run_templates", ref), json=body)

    def usage(self, ref: str) -> tuple[Usage, ...]:
        """Who has called the template, how often, and what became of it; whoever came last first."""
        return self._connection.fetch(tuple[Usage, ...], "GET", path("run_templates", ref, "usage"))

    def diff(self, ref: str, before: str, after: str) -> Difference:
        """What is different between two versions (`v6`, or an alias), and which presets and callers it would hit."""
        query = {"from": before, "to": after}
        return self._connection.fetch(Difference, "GET", path("run_templates", ref, "diff"), query=query)

    def set_terms(self, ref: str, terms: Terms | Mapping[str, Any], *, revision: int | None = None) -> Template:
        """Put these terms in the place of the template's own; with `revision`, only over those of that revision."""
        body = terms_said(terms if isinstance(terms, Terms) else reading.read(Terms, terms, what="The terms"))
        query = {"revision": revision}
        return self._connection.fetch(Template, "PUT", path("run_templates", ref, "terms"), json=body, query=query)

    def promote(
        self,
        ref: str,
        version: str,
        alias: str,
        *,
        allow_breaking: bool = False,
        expected: int | None = None,
        note: str | None = None,
    ) -> Template:
        """Have the alias mean this version (`v7`, or what another alias means now).

        Raises `BreakingChange` if callers who are right today would be refused, and `Conflict` if the alias does not mean
        the version `expected` (0: nothing).
        """
        body = given(version=version, allow_breaking=allow_breaking, expected=expected, note=note)
        return self._connection.fetch(Template, "PUT", path("run_templates", ref, "aliases", alias), json=body)

    def rollback(self, ref: str, alias: str, *, note: str | None = None) -> Template:
        """Have the alias mean what it meant before its last move."""
        where = path("run_templates", ref, "aliases", alias, "rollback")
        return self._connection.fetch(Template, "POST", where, json=given(note=note))

    def history(self, ref: str, alias: str) -> tuple[AliasMove, ...]:
        """Which versions the alias has meant, newest first."""
        return self._connection.fetch(tuple[AliasMove, ...], "GET", path("run_templates", ref, "aliases", alias))

    def remove_alias(self, ref: str, alias: str) -> Template:
        """Take the alias away; its history stays."""
        return self._connection.fetch(Template, "DELETE", path("run_templates", ref, "aliases", alias))

    def delete(self, ref: str) -> None:
        """Delete the template with all its versions; its snapshots and runs stay."""
        self._connection.send("DELETE", path("run_templates", ref))

    def run(
        self,
        ref: str,
        *,
        wait: float | None = None,
        idempotency_key: str | IdempotencyKey | None = None,
        plan_token: str | None = None,
        **how: Unpack[Start],
    ) -> Run:
        """Start a run of the template; the rest is as in `Runs.start`."""
        return self._runs.start(template=ref, wait=wait, idempotency_key=idempotency_key, plan_token=plan_token, **how)

    def plan(self, ref: str, **configuration: Unpack[Configuration]) -> Plan:
        """What `run` with the same would do, step by step; see `Runs.plan`."""
        return self._runs.plan(template=ref, **configuration)

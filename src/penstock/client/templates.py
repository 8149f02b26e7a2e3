"""Run templates: publish, see, run, delete."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict, Unpack

from penstock.client.configuration import Configuration
from penstock.client.connection import Connection, given, path
from penstock.client.page import Page
from penstock.client.runs import Runs
from penstock.model.run import Run
from penstock.model.template import Template, TemplateDetail


class TemplateFilter(TypedDict, total=False):
    """What a list of templates can be narrowed by."""

    name: str | None
    pipeline: str | None
    pipeline_id: str | None
    tag: str | None
    page: int | None


class Templates:
    """A `ref` is an id, a name (its latest version) or `name@vN`."""

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

    def delete(self, ref: str) -> None:
        """Delete the template with all its versions; its snapshots and runs stay."""
        self._connection.send("DELETE", path("run_templates", ref))

    def run(
        self,
        ref: str,
        *,
        wait: float | None = None,
        idempotency_key: str | None = None,
        **configuration: Unpack[Configuration],
    ) -> Run:
        """Start a run of the template; the rest is as in `Runs.start`."""
        return self._runs.start(template=ref, wait=wait, idempotency_key=idempotency_key, **configuration)

"""The client under the argument names that ZenML's code uses."""

from __future__ import annotations

from typing import Any

import penstock
from penstock.client.page import Page
from penstock.model.account import Account, NewApiKey
from penstock.model.pipeline import Pipeline
from penstock.model.run import Run
from penstock.model.snapshot import Snapshot
from penstock.model.template import Template, TemplateDetail

_NEWEST_FIRST = (None, "desc:created", "created")


class Client(penstock.Client):
    """`penstock.Client`, and the calls of the documents in their own words. Records are always whole: `hydrate` may be said."""

    def get_run_template(
        self, name_or_id: Any = None, *, name: str | None = None, hydrate: bool = True
    ) -> TemplateDetail:
        """The run template of this id or name."""
        return super().get_run_template(str(name_or_id if name is None else name))

    def get_pipeline_run(self, name_id_or_prefix: Any, *, hydrate: bool = True) -> Run:
        """The run of this id or name."""
        return super().get_pipeline_run(str(name_id_or_prefix))

    def get_pipeline(self, name_id_or_prefix: Any, *, hydrate: bool = True) -> Pipeline:
        """The pipeline of this id or name."""
        return super().get_pipeline(name_id_or_prefix)

    def create_run_template(
        self, name: str, *, deployment_id: Any = None, snapshot_id: Any = None, **labels: Any
    ) -> Template:
        """Publish what a run was made from (`run.deployment_id`), or a snapshot, under a name."""
        frozen = snapshot_id if deployment_id is None else deployment_id
        return super().create_run_template(name, snapshot_id=str(frozen), **labels)

    def list_pipeline_runs(self, *, sort_by: str | None = None, hydrate: bool = False, **filters: Any) -> Page[Run]:
        """Runs, newest first; another order is refused rather than passed over."""
        if sort_by not in _NEWEST_FIRST:
            raise ValueError(f"sort_by={sort_by!r}: runs are listed by 'desc:created'.")
        return super().list_pipeline_runs(**{name: _text(value) for name, value in filters.items()})

    def list_run_templates(self, *, hydrate: bool = False, **filters: Any) -> Page[Template]:
        """Run templates, newest first."""
        return super().list_run_templates(**{name: _text(value) for name, value in filters.items()})

    def list_pipelines(self, *, hydrate: bool = False, **filters: Any) -> Page[Pipeline]:
        """Pipelines, newest first."""
        return self.pipelines.list(**{name: _text(value) for name, value in filters.items()})

    def get_snapshot(
        self, name_id_or_prefix: Any, *, pipeline_name_or_id: Any = None, hydrate: bool = True
    ) -> Snapshot:
        """The snapshot of this id or name."""
        return self.snapshots.get(str(name_id_or_prefix), pipeline=_text(pipeline_name_or_id))

    def list_snapshots(self, *, hydrate: bool = False, **filters: Any) -> Page[Snapshot]:
        """Snapshots, newest first."""
        return self.snapshots.list(**{name: _text(value) for name, value in filters.items()})

    def create_service_account(self, name: str, description: str | None = None) -> Account:
        """A new service account; `create_api_key` makes its key."""
        return self.accounts.create(name, description=description)

    def create_api_key(self, service_account: str, name: str) -> NewApiKey:
        """A new key for a service account, whose text is in the answer and nowhere else."""
        return self.accounts.create_key(str(service_account), name)


def _text(value: Any) -> Any:
    """Ids may be UUID objects."""
    return value if value is None or isinstance(value, str | int) else str(value)

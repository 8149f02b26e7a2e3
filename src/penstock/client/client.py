"""The way in from Python: one object with the nouns, and the calls that users know by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from penstock.client import configuration
from penstock.client.accounts import Accounts
from penstock.client.artifacts import Artifacts
from penstock.client.audit import Audit
from penstock.client.callbacks import Callbacks
from penstock.client.connection import Connection
from penstock.client.decisions import Decisions
from penstock.client.deployments import Deployments
from penstock.client.devices import Devices
from penstock.client.page import Page
from penstock.client.pipelines import Pipelines
from penstock.client.runs import LONGEST_WAIT, RunFilter, Runs
from penstock.client.server import Server
from penstock.client.snapshots import Snapshots
from penstock.client.stacks import Stacks
from penstock.client.templates import TemplateFilter, Templates
from penstock.client.transport import Transport
from penstock.client.trials import Trials
from penstock.client.trusts import Trusts
from penstock.client.users import Users
from penstock.errors import InvalidInput, fault
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.idempotency import IdempotencyKey
from penstock.model.pipeline import Pipeline
from penstock.model.run import Run
from penstock.model.template import Template, TemplateDetail

if TYPE_CHECKING:
    from uuid import UUID


class Trigger(TypedDict, total=False):
    """What goes with a trigger besides what is to hold for its run."""

    idempotency_key: str | IdempotencyKey | None
    plan_token: str | None
    callback_url: str | None


class Client:
    """A connection to a Penstock server, made at the first request. Thread-safe; any number may exist.

    The server is, in this order: the arguments; `PENSTOCK_URL` and `PENSTOCK_API_KEY`; what `penstock login` stored;
    the server of this home on this machine, which is started in the background if it does not run.
    """

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, transport: Transport | None = None
    ) -> None:
        """`transport`, if given, is used as it is, and nothing else is looked at."""
        connection = Connection(url, api_key, transport=transport)
        self.runs = Runs(connection)
        self.pipelines = Pipelines(connection)
        self.snapshots = Snapshots(connection, self.runs)
        self.templates = Templates(connection, self.runs)
        self.artifacts = Artifacts(connection)
        self.accounts = Accounts(connection)
        self.stacks = Stacks(connection)
        self.deployments = Deployments(connection)
        self.trials = Trials(connection, self.deployments)
        self.decisions = Decisions(connection)
        self.callbacks = Callbacks(connection)
        self.audit = Audit(connection)
        self.users = Users(connection)
        self.trusts = Trusts(connection)
        self.devices = Devices(connection)
        self.server = Server(connection)

    def trigger_pipeline(
        self,
        pipeline_name_or_id: str | None = None,
        *,
        template_id: str | UUID | None = None,
        snapshot_name_or_id: str | None = None,
        run_configuration: PipelineRunConfiguration | Mapping[str, Any] | None = None,
        config_path: Path | str | None = None,
        synchronous: bool = False,
        **how: Unpack[Trigger],
    ) -> Run:
        """Start a run of exactly one of: a pipeline (its latest runnable snapshot), a template, a snapshot.

        `template_id` is an id, a name or `name@vN`. What is to hold for the run is in `run_configuration` (a record, or a
        mapping such as {"parameters": ..., "steps": {invocation: {"parameters": ...}}}), or in a YAML or JSON file at
        `config_path`.
        With `synchronous` the run is returned when it has ended; whether it completed is in its `state`.

        However often the request has to be sent, there is one run; with an `idempotency_key`, one for that key. Its end is
        posted to the `callback_url`, signed, until that has taken it.
        """
        _refuse_unless_one(pipeline_name_or_id, template_id, snapshot_name_or_id)
        if run_configuration is not None and config_path is not None:
            raise InvalidInput("Both run_configuration and config_path were given: give one of them.")
        given = configuration.read(config_path) if config_path is not None else run_configuration or {}
        wait = LONGEST_WAIT if synchronous else None
        said = configuration.as_arguments(configuration.checked(given))
        options: dict[str, Any] = {**said, "wait": wait, **how}
        if snapshot_name_or_id is not None:
            run = self.snapshots.run(snapshot_name_or_id, **options)
        elif template_id is not None:
            run = self.templates.run(str(template_id), **options)
        else:
            run = self.runs.start(pipeline=pipeline_name_or_id, **options)
        return self.runs.wait(run) if synchronous and not run.state.terminal else run

    def get_pipeline(self, name_or_id: str | UUID) -> Pipeline:
        """The same as `pipelines.get`."""
        return self.pipelines.get(str(name_or_id))

    def get_pipeline_run(self, name_or_id: str | UUID) -> Run:
        """The same as `runs.get`."""
        return self.runs.get(str(name_or_id))

    def list_pipeline_runs(
        self, *, size: int = 20, cursor: str | None = None, **filters: Unpack[RunFilter]
    ) -> Page[Run]:
        """The same as `runs.list`."""
        return self.runs.list(size=size, cursor=cursor, **filters)

    def get_run_template(self, name_or_id: str) -> TemplateDetail:
        """The same as `templates.get`."""
        return self.templates.get(name_or_id)

    def list_run_templates(
        self, *, size: int = 20, cursor: str | None = None, **filters: Unpack[TemplateFilter]
    ) -> Page[Template]:
        """The same as `templates.list`."""
        return self.templates.list(size=size, cursor=cursor, **filters)

    def create_run_template(
        self, name: str, *, snapshot_id: str, description: str | None = None, tags: Iterable[str] = ()
    ) -> Template:
        """The same as `templates.create` for a snapshot."""
        return self.templates.create(name, snapshot_id=snapshot_id, description=description, tags=tags)


def _refuse_unless_one(pipeline: str | None, template: str | UUID | None, snapshot: str | None) -> None:
    targets = {"pipeline_name_or_id": pipeline, "template_id": template, "snapshot_name_or_id": snapshot}
    named = [name for name, value in targets.items() if value is not None]
    if len(named) == 1:
        return
    found = "nothing was named" if not named else f"{' and '.join(named)} were given"
    raise InvalidInput(
        f"trigger_pipeline starts exactly one thing, and {found}. Give one of: a pipeline (first argument), "
        "template_id, or snapshot_name_or_id.",
        errors=[fault(f"/{name}", "Only one target can be given.") for name in named],
    )

"""Snapshots over HTTP: take in frozen pipelines with their code, find and run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import Field

from penstock.control import snapshots
from penstock.control.targets import Target
from penstock.errors import InvalidInput, fault
from penstock.model.configuration import PipelineRunConfiguration, said
from penstock.model.run import Run
from penstock.model.snapshot import Content, Snapshot
from penstock.server.access import Here, Reader, Runner, Writer
from penstock.server.bodies import ListQuery, Page, Strict, answer, listing
from penstock.server.noun import Noun
from penstock.server.triggers import ENDED, CallbackUrl, Trigger, plain, starts, trigger
from penstock.store import snapshots as stored

router = Noun("/pipeline_snapshots", "snapshots")


class SnapshotQuery(ListQuery):
    """Filters of the list."""

    name: str | None = None
    pipeline: str | None = Field(default=None, description="Id or name of a pipeline.")
    pipeline_id: str | None = None


class CreateSnapshot(Strict):
    """A frozen pipeline, and a name for it."""

    content: Content
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class SnapshotRun(PipelineRunConfiguration):
    """A run configuration, bare or wrapped in `run_configuration`."""

    run_configuration: PipelineRunConfiguration | None = None
    callback_url: CallbackUrl = None

    def unwrapped(self) -> PipelineRunConfiguration:
        """The configuration that was meant; both forms at once are refused rather than one of them dropped."""
        bare = {name for name in said(self) if name not in ("run_configuration", "callback_url")}
        if self.run_configuration is None:
            return plain(self)
        if bare:
            mistakes = [fault(f"/{name}", "Put this into run_configuration.") for name in sorted(bare)]
            raise InvalidInput("Give the configuration bare or wrapped, not both.", errors=mistakes)
        return self.run_configuration


@router.post("", response_model=Snapshot, status_code=201, responses={200: {"description": "It was there already."}})
def create_snapshot(request: Request, here: Here, _: Writer, wanted: CreateSnapshot) -> Response:
    """Keep a frozen pipeline. The same content is the same snapshot, with the same id."""
    with here.db.write() as session:
        snapshot, new = snapshots.create(session, here, wanted.content, name=wanted.name)
    return answer(
        snapshot,
        201 if new else 200,
        {"Location": f"{request.scope['root_path']}/api/v1/pipeline_snapshots/{snapshot.id}"},
    )


@router.get("", response_model=Page[Snapshot])
def list_snapshots(here: Here, _: Reader, query: Annotated[SnapshotQuery, Query()]) -> Response:
    """All snapshots, newest first."""
    wanted = {"name": query.name, "pipeline": query.reference("pipeline")}
    with here.db.read() as session:
        return listing(stored.page(session, query.window, **wanted), query)


@router.get("/{reference}", response_model=Snapshot)
def get_snapshot(here: Here, _: Reader, reference: str, pipeline: str | None = None) -> Response:
    """One snapshot, by id or name."""
    with here.db.read() as session:
        return answer(snapshots.get(session, reference, pipeline=pipeline))


@router.post("/{reference}/runs", response_model=Run, status_code=202, responses=ENDED)
@starts(lambda path: Target(snapshot=path["reference"]))
async def run_snapshot(
    request: Request, here: Here, who: Runner, reference: str, configuration: SnapshotRun | None = None
) -> Response:
    """Trigger a run of the snapshot. An answer of 2xx means that the run is stored and will be carried out."""
    given = configuration.unwrapped() if configuration else PipelineRunConfiguration()
    callback_url = configuration.callback_url if configuration else None
    return await trigger(request, here, Trigger(Target(snapshot=reference), given, who, callback_url=callback_url))

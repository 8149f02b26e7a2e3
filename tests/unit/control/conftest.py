"""An installation on a database of its own, without a server process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.control import runs, snapshots, stacks, templates
from penstock.control.bell import Bell
from penstock.control.installation import Installation, now
from penstock.control.targets import Target
from penstock.control.tokens import Signer
from penstock.ids import digest_of
from penstock.model.configuration import PipelineRunConfiguration, laid_over
from penstock.model.graph import Binding, Graph, Invocation
from penstock.model.run import Cause, Run
from penstock.model.snapshot import Content, Environment, Snapshot
from penstock.settings import Settings
from penstock.store import code
from penstock.store import runs as stored
from penstock.store.paging import Window
from penstock.store.session import Database

CODE = b"an archive"
CONTENT = Content(
    pipeline="train",
    source="m:train",
    code=digest_of(CODE),
    graph=Graph(
        invocations=(
            Invocation(
                id="fit",
                step="fit",
                source="m:fit",
                inputs={"depth": Binding(kind="parameter", name="depth")},
                schema={"type": "object", "properties": {"depth": {"type": "integer"}}},
            ),
        )
    ),
    parameter_schema={
        "type": "object",
        "properties": {"depth": {"type": "integer", "default": 3}},
        "additionalProperties": False,
    },
    environment=Environment(python="3.11"),
)


@dataclass
class House:
    """An installation and short ways to do common things in it."""

    here: Installation

    def snapshot(self, content: Content = CONTENT, name: str | None = None) -> Snapshot:
        with self.here.db.write() as session:
            return snapshots.create(session, self.here, content, name=name)[0]

    def template(self, name: str = "daily", content: Content = CONTENT) -> str:
        snapshot = self.snapshot(content)
        with self.here.db.write() as session:
            return templates.publish(session, templates.Publication(name=name, snapshot=snapshot.id))[0].id

    def start(
        self,
        target: str = "daily",
        depth: Any = None,
        cause: Cause | None = None,
        said: PipelineRunConfiguration | None = None,
        **options: Any,
    ) -> runs.Started:
        given = PipelineRunConfiguration(parameters={} if depth is None else {"depth": depth})
        inputs = laid_over(said or PipelineRunConfiguration(), given)
        with self.here.db.write() as session:
            return runs.start(
                session, self.here, Target(template=target), inputs, runs.Options(**options), cause or Cause()
            )

    def run(self, reference: str) -> Run:
        with self.here.db.read() as session:
            return stored.get(session, reference)

    def claim(self, lease: float = 10.0) -> Run:
        with self.here.db.write() as session:
            return stored.claim(session, "server:1", 1, now() + timedelta(seconds=lease), at=now())[0]

    def total(self) -> int:
        with self.here.db.read() as session:
            return stored.page(session, Window(), stored.RunFilter()).total


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    settings = Settings(home=tmp_path, lease=2.0)
    db = Database(settings.database)
    db.migrate()
    here = Installation(
        settings=settings,
        db=db,
        bell=Bell(),
        signer=Signer(b"0" * 48),
        address=f"unix:{tmp_path}/server.sock",
        owner="server:1",
        started=now(),
    )
    size = code.keep(here.code_directory, digest_of(CODE), CODE)
    with db.write() as session:
        stacks.ensure_default(session, here)
        code.record(session, digest_of(CODE), size, now())
    yield House(here)
    db.close()


@pytest.fixture
def daily(house: House) -> House:
    house.template("daily")
    return house

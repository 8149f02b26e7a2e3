from __future__ import annotations

from collections import defaultdict
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from penstock.model.artifact import Artifact, File
from penstock.model.run import Batch, Event, Failure, Receipt, RunState
from penstock.runtime.journal import Journal
from penstock.runtime.secrets import Secrets
from penstock.stack.flavors.secret_files import SecretFiles


class Login(BaseModel):
    user: str
    password: SecretStr


class Pair(NamedTuple):
    user: str
    password: SecretStr


@dataclass(frozen=True)
class Door:
    key: SecretStr
    twice: InitVar[int] = 0
    made: int = field(init=False, default=0)

    def __post_init__(self, twice: int) -> None:
        object.__setattr__(self, "made", self.made + 7)


class Own(list[Any]):
    def __init__(self) -> None:
        super().__init__()


def journal(events: list[Event]) -> Journal:
    def send(batch: Batch) -> Receipt:
        events.extend(batch.events)
        return Receipt(state=RunState.RUNNING, sequence=batch.events[-1].seq if batch.events else 0)

    return Journal(send, 1)


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    store = SecretFiles(tmp_path / "secrets")
    store.set("db", {"password": "swordfish"})
    return Secrets(store, journal([]))


REFERENCE = SecretStr("{{db.password}}")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (REFERENCE, lambda one: one),
        ([1, REFERENCE], lambda one: one[1]),
        ({"a": (REFERENCE,)}, lambda one: one["a"][0]),
        ({REFERENCE}, lambda one: next(iter(one))),
        (Pair("u", REFERENCE), lambda one: one.password),
        (Login(user="u", password=REFERENCE), lambda one: one.password),
        (Door(REFERENCE, 1), lambda one: one.key),
    ],
)
def test_references_are_found_wherever_they_are(secrets: Secrets, value: Any, found: Any) -> None:
    filled = secrets.filled_in(value)
    assert type(filled) is type(value)
    assert found(filled).get_secret_value() == "swordfish"
    assert found(value).get_secret_value() == "{{db.password}}"


def test_a_record_is_not_made_a_second_time(secrets: Secrets) -> None:
    assert secrets.filled_in(Door(REFERENCE, 1)).made == 7


@pytest.mark.parametrize(
    "value",
    [
        defaultdict(list, a=[1]),
        Own(),
        Door(SecretStr("clear"), 1),
        Login(user="u", password=SecretStr("x")),
        [{"a": (1,)}],
        3,
    ],
)
def test_what_holds_no_reference_is_the_very_same_object(secrets: Secrets, value: Any) -> None:
    assert secrets.filled_in(value) is value


@given(st.text(min_size=4))
@example("type")
@example("run_completed")
@example("2026")
@example("1234")
@example("output")
@example('a"b\\c')
def test_no_secret_is_reported_and_none_breaks_the_journal(secret: str) -> None:
    events: list[Event] = []
    book = journal(events)
    book.begin({}, refused=lambda _: None)
    book.hide([secret])
    file = File(name="value.json", digest="1234" * 16, size=1234)
    artifact = Artifact(
        id="2026", digest="1234" * 16, files=(file,), size=1234, type="builtins.str", materializer="text",
        created=datetime.now(UTC), metadata={"preview": f"<{secret}>"},
    )  # fmt: skip
    book.write("artifact", step="type", output="output", artifact=artifact)
    book.write("step_failed", step="type", error=Failure(type="KeyError", message=repr(secret), traceback=f"{secret}!"))
    book.write("metadata", step="type", metadata={"noted": [secret, 1234, {"deep": secret}]})
    book.end({"output": secret})
    made, failed, noted, ended = [one for one in events if one.type not in ("run_started", "log")]
    assert made.artifact is not None
    assert (made.step, made.output, made.artifact.digest, made.artifact.files) == (
        "type",
        "output",
        "1234" * 16,
        (file,),
    )
    assert failed.error is not None
    assert secret not in f"{made.artifact.metadata['preview'][1:-1]}"
    assert secret not in str(failed.error.traceback)[:-1]
    assert noted.metadata["noted"] == ["***", 1234, {"deep": "***"}]
    assert ended.values == {"output": "***"}
    assert [one.seq for one in events] == list(range(1, len(events) + 1))

"""The tags of runs, by which they are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Column, ColumnElement, bindparam, delete, func, literal, select

from penstock.model.run import Run
from penstock.store.paging import COUNTED
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import run_tags
from penstock.store.upsert import insert_new

_INSERT = insert_new(run_tags)
_REMOVE = delete(run_tags).where(
    run_tags.c.run_id == bindparam("id"), run_tags.c.tag.not_in(bindparam("kept", expanding=True))
)
_COUNT = select(func.count()).select_from(
    select(literal(1)).where(run_tags.c.tag == bindparam("tag")).limit(COUNTED).subquery("counted")
)


def note(ws: WriteSession, tagged: Iterable[Run]) -> None:
    """Have these runs found by their tags; a tag that was given twice is one tag."""
    ws.change(_INSERT, [{"tag": name, "run_id": run.id} for run in tagged for name in sorted(set(run.tags))])


def replace(ws: WriteSession, run: Run) -> None:
    """Have the run found by its tags, and by no others."""
    ws.change(_REMOVE, {"id": run.id, "kept": list(run.tags)})
    note(ws, [run])


def has(tag: str, run_id: Column[str]) -> ColumnElement[bool]:
    """That the run with this id has the tag."""
    one = run_tags.alias()
    return select(one.c.tag).where(one.c.tag == tag, one.c.run_id == run_id).exists()


def rarest_first(rs: ReadSession, tags: Sequence[str]) -> list[str]:
    """The tags, each once, in the order of how many runs have them; beyond `COUNTED` that is no matter."""
    if len(tags) == 1:
        return list(tags)
    return sorted(set(tags), key=lambda tag: int(rs.value(_COUNT, {"tag": tag})))

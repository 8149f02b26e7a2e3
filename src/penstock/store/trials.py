"""The rows of trials, with their figures."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update
from sqlalchemy import insert as into

from penstock.errors import Conflict, NotFound
from penstock.model.trial import Figures, Trial, TrialState
from penstock.store.deployment_tables import trials
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession

_TRIAL = Record(Trial, trials)
_INSERT = into(trials)
_OF = select(*_TRIAL.columns).where(trials.c.deployment_id == bindparam("of"))
_GOING = _OF.where(trials.c.ended.is_(None))
_NEWEST = _OF.order_by(trials.c.id.desc()).limit(bindparam("limit"))
_OF_COMPANION = select(*_TRIAL.columns).where(trials.c.companion_id == bindparam("companion"))
_PROMOTING = select(*_TRIAL.columns).where(trials.c.ended.is_(None), trials.c.state == TrialState.PROMOTING)
_FIGURES = select(trials.c.figures).where(trials.c.id == bindparam("ref"))
_UPDATE = update(trials).where(trials.c.id == bindparam("ref"))


def insert(ws: WriteSession, trial: Trial) -> None:
    """Keep a new trial. Raises `Conflict` if one goes on."""
    row = _TRIAL.row(trial) | {"figures": Figures()}
    ws.change(_INSERT, row, taken="A trial of this deployment goes on already: promote or abort it first.")


def going(rs: ReadSession, deployment_id: str) -> Trial | None:
    """The trial of a deployment that goes on. In a write session nobody else changes it until the end."""
    row = rs.row(rs.held(_GOING, trials), {"of": deployment_id})
    return None if row is None else _TRIAL.made(row)


def of_companion(rs: ReadSession, companion_id: str) -> Trial:
    """The trial that this companion serves. Raises `NotFound`."""
    row = rs.row(_OF_COMPANION, {"companion": companion_id})
    if row is None:
        raise NotFound("There is no trial of this companion any more.")
    return _TRIAL.made(row)


def newest(rs: ReadSession, deployment_id: str, limit: int = 100) -> list[Trial]:
    """The trials of a deployment, newest first."""
    return [_TRIAL.made(row) for row in rs.rows(_NEWEST, {"of": deployment_id, "limit": limit})]


def promoting(rs: ReadSession) -> list[Trial]:
    """All whose candidates are becoming revisions."""
    return [_TRIAL.made(row) for row in rs.rows(_PROMOTING)]


def save(ws: WriteSession, trial: Trial) -> None:
    """Write a trial as it is now."""
    values = _TRIAL.row(trial)
    if not ws.change(_UPDATE, {name: value for name, value in values.items() if name != "id"} | {"ref": trial.id}):
        raise Conflict("This trial is gone.")


def figures(rs: ReadSession, trial_id: str) -> Figures:
    """What was counted."""
    found: Figures = rs.value(_FIGURES, {"ref": trial_id})
    return found


def save_figures(ws: WriteSession, trial_id: str, counted: Figures) -> None:
    """Write what was counted."""
    ws.change(_UPDATE, {"ref": trial_id, "figures": counted})

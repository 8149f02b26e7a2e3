"""What a narrowed caller gets to see: objects of the run templates it may use. All else is as if it were not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.errors import NotFound, fault
from penstock.ids import is_id
from penstock.model.artifact import Artifact
from penstock.model.template import parse_reference
from penstock.store import artifacts, callbacks, decisions, runs, templates
from penstock.store.session import ReadSession

Within = frozenset[str]
"""Names of run templates."""

_DEEPEST = 100


def template(rs: ReadSession, within: Within, reference: str) -> None:
    """Raise `NotFound` unless `reference` means one of these templates. Other names are never told."""
    name, _ = parse_reference(reference)
    try:
        known = templates.get(rs, name).name in within
    except NotFound:
        known = False
    if not known:
        mistake = fault("/template", "There is no such run template.", allowed=sorted(within), given=name)
        raise NotFound(f"There is no run template '{name}'.", errors=[mistake])


def run(rs: ReadSession, within: Within, reference: str) -> None:
    """Raise `NotFound` unless the run is one of these templates."""
    if runs.get(rs, reference).template_name not in within:
        raise NotFound(f"There is no run '{reference}'.")


def step_run(rs: ReadSession, within: Within, reference: str) -> None:
    """Raise `NotFound` unless the step is of a run of these templates."""
    found = runs.find(rs, runs.get_step(rs, reference).run_id)
    if found is None or found.template_name not in within:
        raise NotFound(f"There is no step run '{reference}'.")


def artifact(rs: ReadSession, within: Within, reference: str) -> None:
    """Raise `NotFound` unless a run of these templates has made the artifact."""
    try:
        seen = holds(rs, within, artifacts.get(rs, reference))
    except NotFound:
        seen = False
    if not seen:
        raise NotFound(f"There is no artifact '{reference}'.")


def decision(rs: ReadSession, within: Within, reference: str) -> None:
    """Raise `NotFound` unless the decision is about one of these templates."""
    if decisions.get(rs, reference).template not in within:
        raise NotFound(f"There is no decision '{reference}'.")


def callback(rs: ReadSession, within: Within, reference: str) -> None:
    """Raise `NotFound` unless the callback is of a run of these templates."""
    found = runs.find(rs, callbacks.get(rs, reference).run_id)
    if found is None or found.template_name not in within:
        raise NotFound(f"There is no callback '{reference}'.")


def holds(rs: ReadSession, within: Within, one: Artifact) -> bool:
    """Whether a run of these templates has made the artifact."""
    made_by = runs.find(rs, one.run_id) if one.run_id is not None else None
    return made_by is not None and made_by.template_name in within


def family(rs: ReadSession, ancestor: str, reference: str) -> None:
    """Raise `NotFound` unless the run is this one, or was started by a step of it, however far down."""
    found: Any = runs.get(rs, reference)
    for _ in range(_DEEPEST):
        if found is None or found.id == ancestor:
            break
        parent = found.cause.parent_run_id
        found = runs.find(rs, parent) if parent is not None and is_id(parent) else None
    if found is None or found.id != ancestor:
        raise NotFound(f"There is no run '{reference}'.")


CHECKS: dict[str, Callable[[ReadSession, Within, str], None]] = {
    "run": run,
    "template": template,
    "step run": step_run,
    "artifact": artifact,
    "decision": decision,
    "callback": callback,
}
"""What an address is about -> how to tell whether it is within reach."""

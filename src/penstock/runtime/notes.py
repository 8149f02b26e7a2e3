"""What code notes: metadata and tags, on the step and the run that it is in, or on anything by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.client.client import Client
from penstock.errors import InvalidInput, fault
from penstock.ids import check_name
from penstock.runtime.context import StepContext, current


def log_metadata(
    metadata: Mapping[str, Any],
    *,
    step_name: str | None = None,
    run_id_name_or_prefix: str | None = None,
    artifact_name: str | None = None,
    artifact_version: str | None = None,
    infer_artifact: bool = False,
) -> None:
    """Note JSON values under names of your own; a name that was used before gets the new value.

    Inside a step, and with nothing named, on that step; with `infer_artifact` on what its only output will be (or the one
    called `artifact_name`). Otherwise on the run (id or name), on a step of it (`step_name`, its invocation id), or on an
    artifact (id or name, by default its latest version). Raises `InvalidInput` if it is not plain what is meant.
    """
    context, values = current.get(), dict(metadata)
    if infer_artifact:
        _inside(context).add_output_metadata(values, artifact_name)
    elif artifact_name is not None:
        reference = artifact_name if artifact_version is None else f"{artifact_name}@{artifact_version}"
        Client().artifacts.annotate(reference, user_metadata=values)
    elif run_id_name_or_prefix is not None:
        Client().runs.annotate(run_id_name_or_prefix, metadata=values, step=step_name)
    else:
        inside = _inside(context)
        inside.journal.write("metadata", step=step_name or inside.step, metadata=values)


def add_tags(
    tags: str | Iterable[str],
    *,
    run: str | None = None,
    run_template: str | None = None,
    artifact: str | None = None,
) -> None:
    """Tag a run, a run template or an artifact, by id or name; inside a step, and with nothing named, its run."""
    named = _the_only({"run": run, "run_template": run_template, "artifact": artifact})
    added = _names(tags)
    if named is None:
        _inside(current.get()).journal.write("metadata", tags=added)
        return
    noun, reference = named
    _annotate(noun, reference, add=added)


def remove_tags(
    tags: str | Iterable[str],
    *,
    run: str | None = None,
    run_template: str | None = None,
    artifact: str | None = None,
) -> None:
    """Take tags off a run, a run template or an artifact again; inside a step, and with nothing named, off its run."""
    named = _the_only({"run": run, "run_template": run_template, "artifact": artifact})
    noun, reference = named or ("run", _inside(current.get()).run_id)
    _annotate(noun, reference, remove=_names(tags))


def _annotate(noun: str, reference: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
    client = Client()
    if noun == "run":
        client.runs.annotate(reference, add_tags=add, remove_tags=remove)
    elif noun == "run_template":
        client.templates.annotate(reference, add_tags=add, remove_tags=remove)
    else:
        client.artifacts.annotate(reference, add_tags=add, remove_tags=remove)


def _inside(context: StepContext | None) -> StepContext:
    if context is None:
        raise InvalidInput("This code runs in no step: name the run, the artifact or the template that is meant.")
    return context


def _the_only(given: Mapping[str, str | None]) -> tuple[str, str] | None:
    named = {noun: reference for noun, reference in given.items() if reference is not None}
    if len(named) > 1:
        raise InvalidInput(
            "Tags are put on one thing at a time.", errors=[fault(f"/{noun}", "Name one of these.") for noun in named]
        )
    return next(iter(named.items()), None)


def _names(tags: str | Iterable[str]) -> tuple[str, ...]:
    listed = (tags,) if isinstance(tags, str) else tuple(tags)
    return tuple(check_name(tag, what="tag", at="/tags") for tag in listed)

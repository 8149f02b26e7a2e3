"""Freezing: a pipeline as the content of a snapshot, with its code."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from penstock.author.archive import Archive, pack
from penstock.author.pipeline import Pipeline
from penstock.author.promise import output_schema
from penstock.author.schema import parameter_schema
from penstock.author.source import Location, locate, preloaded
from penstock.author.tracing import trace
from penstock.errors import AuthoringError
from penstock.model.requirements import Requirements
from penstock.model.snapshot import Content, Environment


@dataclass(frozen=True)
class Frozen:
    """What the server gets. `archive` is None where `content.code_note` says why the code could not be archived."""

    content: Content
    archive: Archive | None


def freeze(pipeline: Pipeline, *, description: str | None = None, lenient: bool = False) -> Frozen:
    """Trace `pipeline`, describe its parameters, archive its code. Nothing runs but the pipeline function itself.

    Freezing the same thing again gives equal content. Raises `AuthoringError` for mistakes in the pipeline, and for a
    project that is too large to archive; `lenient`: the latter becomes a `code_note`. Thread safe.
    """
    graph = trace(pipeline)
    schema = parameter_schema(pipeline.function)
    location = locate(pipeline)
    archive, note = _archived(location, lenient=lenient)
    content = Content(
        pipeline=pipeline.name,
        source=location.source,
        code=archive.digest if archive is not None else None,
        code_note=note,
        description=pipeline.description if description is None else description,
        graph=graph,
        parameter_schema=schema,
        output_schema=output_schema(graph, schema),
        configuration=pipeline.configuration,
        given=pipeline.run_configuration,
        environment=Environment(
            python=platform.python_version(),
            executable=sys.executable or None,
            platform=f"{sys.platform}-{platform.machine()}",
            preload=preloaded(),
            requires=_requires(pipeline),
        ),
    )
    return Frozen(content, archive)


def _requires(pipeline: Pipeline) -> Requirements | None:
    """What is said of its requirements, over the pipeline or in its own script."""
    path = getattr(sys.modules.get(pipeline.__module__), "__file__", None)  # a notebook has none
    file = Path(path) if path else None
    if pipeline.requirements is None and pipeline.python is None and not _has_block(file):
        return None
    from penstock.author.requirements import required  # reads what few pipelines say

    return required(pipeline.requirements, pipeline.python, file)


def _has_block(file: Path | None) -> bool:
    """Whether the script may say what it requires (PEP 723)."""
    try:
        return file is not None and b"# /// script" in file.read_bytes()
    except OSError:
        return False


def _archived(location: Location, *, lenient: bool) -> tuple[Archive | None, str | None]:
    if location.root is None:
        return None, location.note
    try:
        return pack(location.root), None
    except AuthoringError as error:
        if not lenient:
            raise
        return None, error.detail

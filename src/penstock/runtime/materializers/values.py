"""Values to artifacts and back: the verbs that the rest of the runtime uses."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.errors import ArtifactError, PenstockError
from penstock.model.artifact import Artifact, File, artifact_digest
from penstock.runtime.materializers.base import Unfit
from penstock.runtime.materializers.preview import facts
from penstock.runtime.materializers.registry import candidates, named
from penstock.runtime.materializers.staging import Fetched, Folder, Staged, deposit
from penstock.runtime.materializers.structured import as_json
from penstock.stack.contracts import ArtifactStore

_INLINE = 64 * 1024


@dataclass(frozen=True)
class Inline:
    """A value that can stand in a record itself. A wrapper, because the value may be None."""

    value: Any


def save(
    value: Any, store: ArtifactStore, *, id: str, run_id: str | None, step: str | None, output: str | None
) -> Artifact:
    """Keep `value` in the store; its record is returned, and sent nowhere.

    Raises `ArtifactError` for a value that cannot be kept, and what the store raises.
    """
    kind, folder, contents = type(value), Folder(), dict[str, bytes | Path]()
    try:
        materializer, given = deposit(value, candidates(value), Staged(folder, contents))
        files = tuple(_stored(name, content, store) for name, content in contents.items())
    except Exception as error:
        if isinstance(error, PenstockError) and not isinstance(error, ArtifactError):
            raise  # the store's own trouble
        raise ArtifactError(
            f"{_output(step, output)} is a {_name(kind)}, which cannot be saved: {_reason(error)}. Return plain data, an array, "
            "a data frame or the path of a file, or register a materializer for the class."
        ) from error
    finally:
        folder.remove()
    return Artifact(
        id=id,
        digest=artifact_digest(files),
        files=files,
        size=sum(file.size for file in files),
        type=_name(kind),
        materializer=materializer.name,
        code_bearing=materializer.code_bearing,
        metadata=facts(given),
        run_id=run_id,
        step=step,
        output=output,
        created=datetime.now(UTC),
    )


def load(artifact: Artifact, store: ArtifactStore, *, type_hint: Any = None, allow_code: bool) -> Any:
    """The value of an artifact, a new one at every call. `type_hint` is the type that the caller would like.

    Raises `ArtifactError` if it cannot be loaded, or is code-bearing while `allow_code` is false; `NotFound` if the store
    has lost it, and what else the store raises.
    """
    try:
        materializer = named(artifact.materializer)
        # The record may lie about its format, the format cannot lie about itself.
        if (artifact.code_bearing or materializer.code_bearing) and not allow_code:
            raise ArtifactError(_forbidden(artifact))
        with ExitStack() as cleanup:
            return materializer.load(_files(artifact, store, cleanup), type_hint)
    except Exception as error:
        if isinstance(error, PenstockError) and not isinstance(error, ArtifactError):
            raise  # the store's own trouble
        raise ArtifactError(
            f"Artifact {artifact.id} ({_output(artifact.step, artifact.output)}, a {artifact.type}) cannot be loaded: "
            f"{_reason(error)}"
        ) from error


def inline(artifact: Artifact, store: ArtifactStore) -> Inline | None:
    """The value as JSON, if that is what it is and it takes no more than 64 KB; None for everything else.

    A tuple counts as JSON's list, and a number of numpy as a number.
    """
    if artifact.size > _INLINE or artifact.materializer not in {"text", "structured"} or len(artifact.files) > 1:
        return None
    data = store.get(artifact.files[0].digest)
    if artifact.materializer == "text":
        return Inline(data.decode())
    try:
        return Inline(as_json(data))
    except Unfit:
        return None


def _stored(name: str, content: bytes | Path, store: ArtifactStore) -> File:
    digest, size = store.put(content)
    return File(name=name, digest=digest, size=size)


def _files(artifact: Artifact, store: ArtifactStore, cleanup: ExitStack) -> Fetched:
    if artifact.digest != artifact_digest(artifact.files):
        raise ArtifactError("its record does not fit its files: it was changed after it was written")
    return Fetched(store, {file.name: file for file in artifact.files}, cleanup)


def _forbidden(artifact: Artifact) -> str:
    return (
        f"it was stored with pickle ({artifact.materializer}), and loading it would run whatever code its writer put there. "
        "If you trust everybody who can write to the artifact store, set PENSTOCK_ALLOW_PICKLE=true; otherwise have the step "
        "return plain data, an array or a data frame, or register a materializer for the class."
    )


def _output(step: str | None, output: str | None) -> str:
    return (
        f"Output '{output or 'output'}' of step '{step}'"
        if step
        else f"The value '{output}'"
        if output
        else "The value"
    )


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _reason(error: Exception) -> str:
    return error.detail if isinstance(error, ArtifactError) else f"{type(error).__name__}: {error}"

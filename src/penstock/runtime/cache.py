"""Earlier results of steps: what the results of a call hang on, and whether there are any to take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from penstock.author.handle import Handle, holds_handle
from penstock.author.source import load_function
from penstock.author.text import source_text
from penstock.client.transport import Transport
from penstock.errors import InvalidInput, PenstockError, fault, pointer
from penstock.model.artifact import Artifact
from penstock.model.cache import CacheNote, Earlier, Found, Lookup, Taken, Taking, canonical, explain, key_of, shown
from penstock.model.configuration import CachePolicy
from penstock.model.requirements import Requirements
from penstock.model.wire import reader
from penstock.runtime import hooks
from penstock.runtime.step import Call, recorded
from penstock.settings import Settings
from penstock.stack.contracts import ArtifactStore

_MOST_KNOWN = 10_000
_CHUNK = 1024 * 1024
Ask = Callable[[Lookup], Found]
ArtifactOf = Callable[[Handle], Artifact]


class _Untold(Exception):
    """There is no telling what this hangs on; the text says why."""


@dataclass(frozen=True)
class Resumed:
    """The run whose results are taken over; `again` are the steps whose are not."""

    run_id: str
    again: frozenset[str]
    take: Callable[[Taking], Taken]


class StepCache:
    """The cache of one run. `root` is where the code lies: file dependencies are relative to it."""

    def __init__(
        self,
        pipeline_id: str,
        ask: Ask,
        store: ArtifactStore,
        root: Path,
        resumed: Resumed | None = None,
        requires: Requirements | None = None,
    ) -> None:
        self._pipeline_id = pipeline_id
        self._requires = requires
        self._ask = ask
        self._store = store
        self._root = root
        self._resumed = resumed
        self.resumes = resumed is not None
        self._known: dict[str, Earlier] = {}
        """What the server told besides what it was asked for, by key; each is asked for once, if at all."""

        self._ignored: dict[str, bool] = {}
        """Arguments that a policy for all steps ignores, and whether any step had one of this name."""

    def look(self, call: Call, given: Mapping[str, Any], artifact_of: ArtifactOf) -> tuple[CacheNote, Earlier | None]:
        """What is known of this call, and the results to take if there are any. `given` are its constant arguments.

        Raises `InvalidInput` for a policy that names what there is not. A server that cannot answer is no reason to fail:
        then there is nothing to take.
        """
        if self._resumed is not None:
            taken = self._taken_over(self._resumed, call, artifact_of)
            if taken[1] is not None or not call.wants_cache:
                return taken
        policy = call.configuration.cache_policy or CachePolicy()
        try:
            parts = dict(self._parts(call, policy, given, artifact_of))
        except _Untold as reason:
            return CacheNote(reason=f"Not looked for in the cache: {reason}"), None
        key, told = key_of(call.step.name, parts), shown(parts)
        oldest = policy.expires_after
        not_before = None if oldest is None else datetime.now(UTC) - timedelta(seconds=oldest)
        wanted = Lookup(pipeline_id=self._pipeline_id, step=call.step.name, key=key, not_before=not_before)
        note = partial(CacheNote, key=key, parts=told)
        try:
            found = self._found(wanted)
        except PenstockError as error:
            return note(reason=f"Not looked for in the cache: {error.detail}"), None
        hit = found.hit
        if hit is None:
            return note(reason=explain(told, found)), None
        unfit = self._unfit(hit.outputs.values())
        if unfit is not None:
            return note(reason=f"Not taken from the cache: {unfit}"), None
        return note(hit=True, reason=explain(told, found), from_run=hit.run_id, from_step=hit.step), hit

    def _taken_over(self, resumed: Resumed, call: Call, artifact_of: ArtifactOf) -> tuple[CacheNote, Earlier | None]:
        """What the resumed run made of this very call: the same constants, and of everything else the very artifacts."""

        def anew(reason: str) -> tuple[CacheNote, None]:
            return CacheNote(reason=f"Carried out again: {reason}"), None

        if call.id in resumed.again:
            return anew("it did not end well then, it was asked for, or what it hangs on is carried out again.")
        try:
            earlier = resumed.take(Taking(run_id=resumed.run_id, step=call.id)).earlier
        except PenstockError as error:  # a server that cannot answer is no reason to fail
            return anew(error.detail)
        if earlier is None:
            return anew("the resumed run has no results of it.")
        now = recorded(call, artifact_of)
        for name, value in now.items():
            # As text: 1, 1.0 and true are three values, although Python holds them to be equal.
            if name not in earlier.parameters or canonical(value) != canonical(earlier.parameters[name]):
                return anew(f"'{name}' is not what it was.")
            if _names_a_type(value):
                return anew(f"there is no telling whether '{name}' is what it was.")
        inputs = {name: artifact_of(value).id for name, value in call.arguments.items() if isinstance(value, Handle)}
        for name in {*inputs, *earlier.inputs}:
            if inputs.get(name) != earlier.inputs.get(name):
                return anew(f"'{name}' is not what it was.")
        if now.keys() != earlier.parameters.keys():
            return anew("it has other arguments than then.")
        unfit = self._unfit(earlier.outputs.values())
        if unfit is not None:
            return anew(unfit)
        told = f"Taken over from run {earlier.run_name}."
        return CacheNote(hit=True, reason=told, from_run=earlier.run_id, from_step=earlier.step), earlier

    def remarks(self) -> list[str]:
        """Which arguments were to be ignored that no step had."""
        return [
            f"the cache policy of this run ignores the input '{name}', but no step that looked into the cache had one."
            for name, found in self._ignored.items()
            if not found
        ]

    def _found(self, wanted: Lookup) -> Found:
        known = self._known.pop(wanted.key, None)
        if known is not None and (wanted.not_before is None or known.ended >= wanted.not_before):
            return Found(hit=known)
        found = self._ask(wanted)
        if len(self._known) > _MOST_KNOWN:  # a run that goes another way than the one before
            self._known.clear()
        self._known.update(found.following)
        return found

    def _unfit(self, artifacts: Iterable[Artifact]) -> str | None:
        """Why these cannot be taken, in words: a file is gone, or code would have to be trusted that another run stored."""
        trusting = Settings.load().allow_pickle
        for artifact in artifacts:
            if artifact.code_bearing and not trusting:
                return f"artifact {artifact.id} was pickled by another run; PENSTOCK_ALLOW_PICKLE=true allows to load such."
            for file in artifact.files:
                if not self._store.exists(file.digest):
                    return f"file '{file.name}' of artifact {artifact.id} is not in the artifact store any more."
        return None

    def _parts(
        self, call: Call, policy: CachePolicy, given: Mapping[str, Any], artifact_of: ArtifactOf
    ) -> Iterator[tuple[str, str]]:
        self._check_ignored(call, policy)
        if policy.include_step_code:
            yield "code", _digest(_text(call.step.function))
        yield "outputs", _digest([(output.name, output.type) for output in call.step.outputs()])
        arguments = {**call.step.signature.defaults, **call.arguments}
        for name, value in arguments.items():
            if name in policy.ignored_inputs:
                continue
            if holds_handle(value):
                if policy.include_artifact_values or policy.include_artifact_ids:
                    yield f"input {name}", _digest(_with_digests(value, policy, artifact_of))
            elif policy.include_step_parameters:
                yield f"parameter {name}", _json_digest(name, given.get(name, value))
        if self._requires is not None:
            yield "requirements", self._requires.digest()
        for path in policy.file_dependencies:
            yield f"file {path}", _file_digest(self._root, path, call.id)
        for thing in policy.source_dependencies:
            yield f"source {thing}", _digest(_text(_found(thing, call)))
        if policy.cache_func is not None:
            answer = hooks.call(policy.cache_func, call.function, {})
            yield "function", _json_digest("what cache_func returned", answer)

    def _check_ignored(self, call: Call, policy: CachePolicy) -> None:
        """A policy for this step must fit it; one for all steps must fit one of them."""
        known = tuple(dict.fromkeys((*call.step.parameters(), *call.arguments)))
        if not call.own_policy:
            for name in policy.ignored_inputs:
                self._ignored[name] = self._ignored.get(name, False) or name in known
            return
        unknown = [name for name in policy.ignored_inputs if name not in known]
        if unknown:
            at = pointer("steps", call.id, "cache_policy", "ignored_inputs")
            faults = [fault(at, f"The step has no argument '{name}'.", allowed=known, given=name) for name in unknown]
            raise InvalidInput(f"The cache policy of step {call.id} does not fit it.", errors=faults)


def asking(transport: Transport) -> Ask:
    """The function that asks the server of a run."""
    decode = reader(Found)

    def ask(wanted: Lookup) -> Found:
        return decode(transport.request("POST", "/step_runs/lookup", json=wanted).body)

    return ask


def taking(transport: Transport) -> Callable[[Taking], Taken]:
    """The function that asks the server of a run what a step of another one made."""
    decode = reader(Taken)
    return lambda wanted: decode(transport.request("POST", "/step_runs/take", json=wanted).body)


def _names_a_type(value: Any) -> bool:
    """Whether it may stand for a value that is no JSON: equal names are no equal values."""
    return isinstance(value, str) and value.startswith("<") and value.endswith(">")


def _text(thing: Any) -> str:
    text = source_text(thing)
    if text is None:
        raise _Untold(f"the source of {thing!r} cannot be had.")
    return text


def _with_digests(value: Any, policy: CachePolicy, artifact_of: ArtifactOf) -> Any:
    """`value` with what identifies an artifact in the place of each handle."""
    if isinstance(value, Handle):
        artifact = artifact_of(value)
        return [artifact.digest if policy.include_artifact_values else None] + (
            [artifact.id] if policy.include_artifact_ids else []
        )
    if isinstance(value, dict):
        return {str(key): _with_digests(item, policy, artifact_of) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_digests(item, policy, artifact_of) for item in value]
    return _canonical("a part of it", value)


def _json_digest(name: str, value: Any) -> str:
    return sha256(_canonical(name, value).encode()).hexdigest()


def _canonical(name: str, value: Any) -> str:
    """`value` as JSON text, always the same for the same value. Raises `_Untold` for what has none."""
    try:
        return canonical(value, _plain)
    except (TypeError, NotImplementedError, ValueError, OverflowError, RecursionError):
        what = f"argument '{name}'" if name.isidentifier() else name
        raise _Untold(f"{what} is a {type(value).__qualname__}, which has no form as JSON.") from None


def _plain(value: Any) -> Any:
    """What JSON does not know: a pydantic model by its fields."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError
    return dump(mode="json")


def _file_digest(root: Path, path: str, step: str) -> str:
    """The digest of a file's content, or of everything in a directory by its place."""
    target = root / path
    whole = sha256()
    try:
        if not target.is_dir():
            return _content(target)
        for file in sorted(one for one in target.rglob("*") if one.is_file() and "__pycache__" not in one.parts):
            whole.update(f"{file.relative_to(target)}\0{_content(file)}\0".encode())
    except OSError as error:
        at = pointer("steps", step, "cache_policy", "file_dependencies")
        mistake = fault(at, f"'{path}' cannot be read in the code ({root}): {error.strerror}.")
        raise InvalidInput(
            f"The cache policy of step {step} names a file that cannot be read.", errors=[mistake]
        ) from error
    return whole.hexdigest()


def _content(file: Path) -> str:
    digest = sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _found(thing: Any, call: Call) -> Any:
    """A source dependency by its name: what the code gave, a function or class, or a module."""
    given = call.function(thing)
    if given is not None:
        return given
    if ":" in thing:
        return load_function(thing)
    import importlib  # only policies that name modules need it

    try:
        return importlib.import_module(thing)
    except ImportError as error:
        at = pointer("steps", call.id, "cache_policy", "source_dependencies")
        mistake = fault(at, f"{error}. Name a module, or `module:attribute`.", given=thing)
        raise InvalidInput(
            f"The cache policy of step {call.id} names '{thing}', which cannot be imported.", errors=[mistake]
        ) from error


def _digest(content: Any) -> str:
    text = content if isinstance(content, str) else _canonical("it", content)
    return sha256(text.encode()).hexdigest()

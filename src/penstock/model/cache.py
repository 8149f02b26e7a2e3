"""Earlier results of a step: what they hang on, and why they are taken or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from penstock.ids import digest_of
from penstock.model.artifact import Artifact


@dataclass(frozen=True, kw_only=True)
class CacheNote:
    """What is known of a step run and its cache. `parts` name what the results hang on, each with a short digest.

    `key` is the digest of all parts; two step runs with the same one are worth the same. None: there was no way to tell.
    """

    key: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    hit: bool = False
    reason: str
    """Why it was a hit or a miss, in words."""

    from_run: str | None = None
    """Of a hit: the run that made the results."""

    from_step: str | None = None


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """A question to the server: is there a completed run of this step with this key, not older than the policy allows?"""

    pipeline_id: str
    step: str
    """The step's own name."""

    key: str
    not_before: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A step run that ended well: where it was, what it hung on, and what it made, by output name."""

    run_id: str
    run_name: str
    step: str
    parts: dict[str, str]
    outputs: dict[str, Artifact]
    ended: datetime
    parameters: dict[str, Any] = field(default_factory=dict)
    """The constant arguments, as the record has them."""

    inputs: dict[str, str] = field(default_factory=dict)
    """Argument -> artifact id, of arguments that are artifacts."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answer. `hit`: with that very key. Otherwise `latest`: the last one of this step, to tell what has changed."""

    hit: Earlier | None = None
    latest: Earlier | None = None
    expired: bool = False
    """There is one with that key, and it is too old."""

    following: dict[str, Earlier] = field(default_factory=dict)
    """With a hit: by key, what the same run made next. Whoever comes to the same steps need not ask again."""


@dataclass(frozen=True, kw_only=True)
class Taking:
    """A question to the server: what did this invocation of that run make, if it ended well?"""

    run_id: str
    step: str
    """The invocation id."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The answer. None: it did not end well, or its artifacts are gone."""

    earlier: Earlier | None = None


FORMAT = "1"
"""Goes into every key: to be changed when keys are made otherwise."""

SHOWN = 16
"""Digits of the digest of a part that are kept: enough to tell whether it has changed."""


def canonical(value: Any, plain: Callable[[Any], Any] | None = None) -> str:
    """`value` as JSON text, always the same for the same value; `plain` makes JSON of what is none.

    Raises what msgspec raises for a value that has no such form.
    """
    return msgspec.json.encode(value, order="deterministic", enc_hook=plain).decode()


def digest(content: Any) -> str:
    """SHA-256 of a text, or of the canonical JSON of any other value."""
    return digest_of((content if isinstance(content, str) else canonical(content)).encode())


def key_of(step: str, parts: Mapping[str, str]) -> str:
    """What results of the step with this name are found by, from the digests of all that they hang on."""
    return digest([FORMAT, step, sorted(parts.items())])


def shown(parts: Mapping[str, str]) -> dict[str, str]:
    """The parts as they are kept beside a key."""
    return {name: one[:SHOWN] for name, one in parts.items()}


def explain(parts: Mapping[str, str], found: Found) -> str:
    """Why the results of `found` are taken, or why there are none to take, in words."""
    if found.hit is not None:
        return f"Taken from step {found.hit.step} of run {found.hit.run_name}: nothing it hangs on has changed."
    if found.expired:
        return "Not taken from the cache: the earlier results have expired."
    if found.latest is None:
        return "Not in the cache: this step has not completed before."
    before = found.latest.parts
    changed = [name for name in parts if name in before and parts[name] != before[name]]
    added = [name for name in parts if name not in before]
    gone = [name for name in before if name not in parts]
    told = [
        f"{', '.join(names)} {word}"
        for names, word in ((changed, "changed"), (added, "added"), (gone, "gone"))
        if names
    ]
    since = f"since run {found.latest.run_name}"
    return f"Not in the cache: {'; '.join(told)} {since}." if told else f"Not in the cache any more {since}."

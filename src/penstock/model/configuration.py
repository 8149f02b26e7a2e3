"""What can be said of a run besides its values. One record, whoever says it: code, a file, a snapshot, a request.

Four layers lie over each other, the later ones on top: what the code says of the pipeline, what it says of the step, what
the configuration says of the run, what it says of the step in that run. `for_step` lays them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from penstock.errors import InvalidInput, fault, pointer
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.exact import Exact
from penstock.model.limits import check_priority

ExecutionMode = Literal["fail_fast", "stop_on_failure", "continue_on_failure"]
"""What a failed step means for the others.

`fail_fast`: running ones are interrupted. `stop_on_failure`: running ones end, no other starts. `continue_on_failure`: all
that do not depend on it are carried out. In each case the run fails.
"""

DEFAULT_MODE: ExecutionMode = "stop_on_failure"


def _refuse(at: str, message: str) -> InvalidInput:
    return InvalidInput(f"This configuration is not right: {message}", errors=[fault(pointer(at), message)])


@dataclass(frozen=True, kw_only=True)
class StepRetryConfig(Exact):
    """How a failed step is tried again. Times are in seconds.

    The n-th retry waits `delay` x `backoff`^(n-1), at most `max_delay`, varied at random by the share `jitter` (0 to 1) in
    both directions. A `backoff` of 0 leaves the delay as it is.
    """

    max_retries: int = 1
    delay: float = 0.0
    backoff: float = 0.0
    max_delay: float | None = None
    jitter: float = 0.0
    on: tuple[Any, ...] = ()
    """The exceptions that are worth a retry: classes, or their names (`ConnectionError`, `requests.exceptions.Timeout`); their
    subclasses count too. Empty: every `Exception`. What is no `Exception`, such as an interrupt, never is."""

    def __post_init__(self) -> None:
        for name, least in (("max_retries", 1), ("delay", 0), ("backoff", 0), ("max_delay", 0), ("jitter", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise _refuse(name, f"{value!r} is less than {least}.")
        _as_floats(self, "delay", "backoff", "max_delay", "jitter")
        if self.jitter > 1:
            raise _refuse("jitter", f"{self.jitter!r} is more than 1: it is a share of the delay.")
        object.__setattr__(self, "on", tuple(_class_name(one) for one in listed(self.on)))

    def wait_before(self, retry: int, chance: float) -> float:
        """Seconds to wait before the retry with this number (from 1); `chance` is a random number from 0 to 1."""
        seconds = self.delay * (self.backoff or 1.0) ** (retry - 1)
        if self.max_delay is not None:
            seconds = min(seconds, self.max_delay)
        return seconds * (1 + self.jitter * (2 * chance - 1))

    def concerns(self, error: BaseException) -> bool:
        """Whether `error` is worth a retry."""
        if not isinstance(error, Exception):
            return False
        names = {name for kind in type(error).__mro__ for name in (kind.__name__, _class_name(kind))}
        return not self.on or not names.isdisjoint(self.on)


@dataclass(frozen=True, kw_only=True)
class CachePolicy(Exact):
    """What must be the same for the results of an earlier step run to be taken. Where in doubt, the step runs."""

    include_step_code: bool = True
    """The source text of the step's function."""

    include_step_parameters: bool = True
    """The values of its parameters."""

    include_artifact_values: bool = True
    """The content of its inputs, whoever made them."""

    include_artifact_ids: bool = False
    """The identity of its inputs: the very same artifacts."""

    ignored_inputs: tuple[str, ...] = ()
    """Arguments that do not matter."""

    file_dependencies: tuple[str, ...] = ()
    """Files whose content matters, as paths relative to the root of the code."""

    source_dependencies: tuple[Any, ...] = ()
    """Functions, classes and modules of the project whose source text matters, or their names (`module:attribute`)."""

    cache_func: Any = None
    """A function without arguments (or its name) whose answer, as JSON, matters: the version of a table, a date."""

    expires_after: float | None = None
    """Seconds after which a result is too old."""

    def __post_init__(self) -> None:
        if self.expires_after is not None and self.expires_after <= 0:
            raise _refuse("expires_after", f"{self.expires_after!r} is no time in which a result could be used.")
        _as_floats(self, "expires_after")
        for name in ("ignored_inputs", "file_dependencies", "source_dependencies"):
            object.__setattr__(self, name, listed(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class ResourceSettings(Exact):
    """What a step needs of a machine. `memory` is a number with a unit: `512MiB`, `4GB`."""

    cpu_count: float | None = None
    gpu_count: int | None = None
    memory: str | None = None

    def __post_init__(self) -> None:
        for name in ("cpu_count", "gpu_count"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise _refuse(name, f"{value!r} is less than 0.")
        _as_floats(self, "cpu_count")
        if self.memory is not None:
            _bytes(self.memory)

    @property
    def memory_bytes(self) -> int | None:
        """`memory` as a number of bytes."""
        return None if self.memory is None else _bytes(self.memory)


@dataclass(frozen=True, kw_only=True)
class DockerSettings(Exact):
    """What is in the image in which a step runs: a base image, or a Dockerfile of one's own, and what is added."""

    parent_image: str | None = None
    dockerfile: str | None = None
    """Path of a Dockerfile relative to the root of the code; built instead of pulling `parent_image`."""

    build_context_root: str | None = None
    requirements: tuple[str, ...] = ()
    """Requirements for pip, one each."""

    apt_packages: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    user: str | None = None

    def __post_init__(self) -> None:
        for name in ("requirements", "apt_packages"):
            object.__setattr__(self, name, listed(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class Settings(Exact):
    """Settings of components, by topic."""

    resources: ResourceSettings | None = None
    docker: DockerSettings | None = None
    deployment: DeploymentSettings | None = None
    """How a service of the pipeline looks, and what it bears."""


@dataclass(frozen=True, kw_only=True)
class StepConfiguration(Exact):
    """What can be said of one step. What is None or empty leaves it to the layer below."""

    parameters: dict[str, Any] = field(default_factory=dict)
    enable_cache: bool | None = None
    cache_policy: CachePolicy | None = None
    retry: StepRetryConfig | None = None
    timeout: float | None = None
    """Seconds after which the step, each attempt for itself, is stopped and has failed."""

    environment: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of secrets whose values become environment variables."""

    settings: Settings = field(default_factory=Settings)
    extra: dict[str, Any] = field(default_factory=dict)
    """Anything that the step's code wants to know: see `get_step_context().extra`."""

    substitutions: dict[str, str] = field(default_factory=dict)
    """What stands for `{name}` in names of artifacts, besides `{date}` and `{time}`."""

    on_start: str | None = None
    """Hooks are functions, stored by their name (`module:function`)."""

    on_success: str | None = None
    on_failure: str | None = None
    on_end: str | None = None

    def __post_init__(self) -> None:
        _check_common(self)


@dataclass(frozen=True, kw_only=True)
class PipelineRunConfiguration(Exact):
    """What can be said of a run, and of its steps by invocation id. What is None or empty is left to the layer below."""

    parameters: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, StepConfiguration] = field(default_factory=dict)
    preset: str | None = None
    """Of a run template: the named set of values that lies under these."""

    run_name: str | None = None
    tags: tuple[str, ...] = ()
    enable_cache: bool | None = None
    cache_policy: CachePolicy | None = None
    retry: StepRetryConfig | None = None
    timeout: float | None = None
    """Seconds after which the whole run is stopped and has failed; the time in the queue does not count."""

    priority: int | None = None
    """From -100 to 100, 0 if nobody says it: a run with a higher one overtakes what was queued a while before it."""

    execution_mode: ExecutionMode | None = None
    environment: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    extra: dict[str, Any] = field(default_factory=dict)
    substitutions: dict[str, str] = field(default_factory=dict)
    on_init: str | None = None
    on_init_kwargs: dict[str, Any] = field(default_factory=dict)
    on_cleanup: str | None = None
    on_start: str | None = None
    on_success: str | None = None
    on_failure: str | None = None
    on_end: str | None = None

    def __post_init__(self) -> None:
        _check_common(self)
        check_priority(self.priority)
        object.__setattr__(self, "tags", listed(self.tags))
        for step, said in self.steps.items():
            if isinstance(said, Mapping):  # as people write it in Python
                self.steps[step] = StepConfiguration(**said)


Configuration = StepConfiguration | PipelineRunConfiguration
Record = (
    Configuration | CachePolicy | StepRetryConfig | Settings | ResourceSettings | DockerSettings | DeploymentSettings
)
C = TypeVar("C", StepConfiguration, PipelineRunConfiguration)
L = TypeVar("L", StepConfiguration, PipelineRunConfiguration, Settings, ResourceSettings, DockerSettings)

_OF_STEPS = ("enable_cache", "cache_policy", "retry", "environment", "secrets", "settings", "extra", "substitutions")
"""What is said of all steps when it is said of the pipeline or the run."""

_BY_FIELD = (Settings, ResourceSettings, DockerSettings)
"""Records that are joined field by field. The others (a policy, a retry) mean something as a whole only."""


def for_step(
    pipeline: PipelineRunConfiguration, step: StepConfiguration, run: PipelineRunConfiguration, invocation: str
) -> StepConfiguration:
    """What holds for one invocation: the four layers, each over the one before it."""
    layers = (_of_all_steps(pipeline), step, _of_all_steps(run), run.steps.get(invocation))
    effective = StepConfiguration()
    for layer in layers:
        if layer is not None:
            effective = laid_over(effective, layer)
    return effective


def laid_over(below: L, above: L) -> L:
    """`below`, with what `above` says in its place.

    Mappings are joined key by key, lists (tags, secrets) are joined, settings topic by topic; all else is replaced.
    """
    changes = {one.name: _joined(getattr(below, one.name), getattr(above, one.name)) for one in fields(above)}
    return replace(below, **changes)


def said(configuration: Record) -> dict[str, Any]:
    """The configuration as a mapping, without what it leaves open: what a person would write. Values stay as they are."""
    members = {one.name: (getattr(configuration, one.name), one) for one in fields(configuration)}
    return {name: _plain(value) for name, (value, one) in members.items() if not is_open(value, one)}


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return said(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dict) and all(isinstance(item, StepConfiguration) for item in value.values()):
        return {key: said(item) for key, item in value.items()}
    return value


def besides_values(said: PipelineRunConfiguration) -> PipelineRunConfiguration:
    """The configuration without parameters, name and tags, for which a run has places of its own."""
    steps = {step: replace(one, parameters={}) for step, one in said.steps.items()}
    steps = {step: one for step, one in steps.items() if one != StepConfiguration()}
    return replace(said, parameters={}, steps=steps, run_name=None, tags=())


def filled_in(template: str, substitutions: Mapping[str, str], at: datetime, *, where: str) -> str:
    """`template` with `{date}`, `{time}` (of `at`, in UTC) and the substitutions put in.

    Raises `InvalidInput`, pointing to `where`, for a name in braces that stands for nothing.
    """
    known = {"date": f"{at:%Y_%m_%d}", "time": f"{at:%H_%M_%S_%f}", **substitutions}

    def value(found: re.Match[str]) -> str:
        if found[1] not in known:
            mistake = fault(where, f"Nothing is to be put in for {found[0]}.", allowed=known, given=found[1])
            raise InvalidInput(f"'{template}' cannot be filled in.", errors=[mistake])
        return known[found[1]]

    return re.sub(r"\{([^{}]*)\}", value, template)


def is_open(value: Any, described: Any) -> bool:
    """Whether a field says nothing: it is as it is when nobody gave it."""
    default = described.default_factory() if callable(described.default_factory) else described.default
    return bool(value == default)


def _of_all_steps(configuration: PipelineRunConfiguration) -> StepConfiguration:
    return StepConfiguration(**{name: getattr(configuration, name) for name in _OF_STEPS})


def _joined(below: Any, above: Any) -> Any:
    if isinstance(above, Mapping):
        return {**below, **{key: _of_step(below.get(key), value) for key, value in above.items()}}
    if isinstance(above, tuple):
        return tuple(dict.fromkeys((*below, *above)))
    if above is None:
        return below
    if isinstance(above, _BY_FIELD) and below is not None:
        return laid_over(below, above)
    return above


def _of_step(below: Any, above: Any) -> Any:
    """One entry of a mapping: what is said of a step is joined, any other value replaced."""
    both = isinstance(below, StepConfiguration) and isinstance(above, StepConfiguration)
    return laid_over(below, above) if both else above


def _check_common(configuration: Configuration) -> None:
    if configuration.timeout is not None and configuration.timeout <= 0:
        raise _refuse("timeout", f"{configuration.timeout!r} s is no time in which anything could be done.")
    _as_floats(configuration, "timeout")
    object.__setattr__(configuration, "secrets", listed(configuration.secrets))
    wrong = [name for name in configuration.environment if not name or "=" in name or "\0" in name]
    if wrong:
        raise _refuse("environment", f"{wrong[0]!r} cannot be the name of an environment variable.")


def _as_floats(record: Any, *names: str) -> None:
    """60 and 60.0 seconds are the same, and must be written alike where a digest is made of them."""
    for name in names:
        value = getattr(record, name)
        if isinstance(value, int):
            object.__setattr__(record, name, float(value))


def listed(given: Any) -> tuple[Any, ...]:
    """Several of something; a single text is one of it, not its letters."""
    return (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)


def _class_name(kind: Any) -> str:
    if isinstance(kind, str):
        return kind
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(kind, type):
        return f"{kind.__module__}.{kind.__qualname__}"
    raise _refuse("on", f"{kind!r} is neither a class of exceptions nor the name of one.")


_UNITS = {"B": 1} | {
    prefix + unit: base**power
    for power, prefix in enumerate("KMGT", start=1)
    for unit, base in (("B", 1000), ("iB", 1024))
}


def _bytes(text: str) -> int:
    number = text.strip().rstrip("".join({*"".join(_UNITS)}))
    unit = text.strip()[len(number) :]
    try:
        count = int(float(number) * _UNITS[unit])
        if count < 0:
            raise ValueError
        return count
    except (ValueError, KeyError, OverflowError):
        raise _refuse(
            "memory", f"'{text}' is no amount of memory: write a number and one of {', '.join(_UNITS)}."
        ) from None

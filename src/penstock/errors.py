"""Every error of Penstock. The class docstring is the title people read; `detail` says what happened this time.

PenstockError                     500
├── MalformedRequest              400
├── Unauthenticated               401
├── Forbidden                     403
├── NotFound (LookupError)        404
├── Conflict                      409
│   ├── AlreadyRunning            409
│   ├── BreakingChange            409   errors[]: what would break, and whom
│   ├── KeyHeld                   409
│   ├── PlanChanged               409
│   ├── StaleFence                409
│   └── CodeMissing               409
├── TooSlow                       408
├── TooLarge                      413
├── InvalidInput (ValueError)     422   errors[]: pointer, message, allowed, did_you_mean
│   └── KeyReused                 422
├── Misdirected                   421
├── TooManyRequests               429
├── HeadTooLarge                  431
├── Unavailable                   503
├── StorageFull                   507
└── on the caller's side, never sent by a server:
    ├── ServerUnreachable         the client found nobody to talk to
    ├── HomeUnusable              the home directory cannot be written
    ├── AuthoringError            a mistake in pipeline code, found before anything runs
    ├── EnvironmentFailed         the Python that a pipeline requires could not be built
    ├── SourceNotFound            `module:function` names nothing
    ├── ArtifactError             a value could not be saved or loaded
    └── RunFailed                 a run that was waited for did not complete
        ├── RunCancelled          a run was cancelled while a caller was inside it
        ├── TimedOut (TimeoutError)   a step or a run did not end within its time
        └── Stopped               a step was stopped because another one failed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")


class PenstockError(Exception):
    """Something went wrong in Penstock."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Iterable[dict[str, Any]] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail or self.title())
        self.detail = detail or self.title()
        self.errors = list(errors)
        self.headers = dict(headers or {})

    @classmethod
    def title(cls) -> str:
        """The first line of the class docstring: what this kind of error means."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def __str__(self) -> str:
        lines = [self.detail]
        for error in self.errors:
            line = f"  {error['pointer'] or '/'}: {error['message']}"
            if error.get("did_you_mean"):
                line += f" Did you mean '{error['did_you_mean']}'?"
            if error.get("allowed"):
                line += f" Allowed: {', '.join(map(str, error['allowed']))}."
            lines.append(line)
        return "\n".join(lines)

    def problem(self, instance: str | None = None) -> dict[str, Any]:
        """This error as an RFC 9457 problem document."""
        document: dict[str, Any] = {
            "type": f"urn:penstock:problem:{self.slug}",
            "title": self.title(),
            "status": self.status,
            "detail": self.detail,
        }
        if instance is not None:
            document["instance"] = instance
        if self.errors:
            document["errors"] = self.errors
        return document


class MalformedRequest(PenstockError):
    """The request could not be read."""

    status = 400
    slug = "malformed-request"


class DeviceRefused(PenstockError):
    """A device is not let in."""

    status = 400
    slug = "device-refused"
    code = "invalid_request"
    """What RFC 8628 calls it, in `error`."""

    def problem(self, instance: str | None = None) -> dict[str, Any]:
        """The problem document, with the name that other clients look for."""
        return {**super().problem(instance), "error": self.code}


class AuthorizationPending(DeviceRefused):
    """Nobody has answered the device yet."""

    slug = "authorization-pending"
    code = "authorization_pending"


class SlowDown(DeviceRefused):
    """The device asks too often."""

    slug = "slow-down"
    code = "slow_down"


class DeviceExpired(DeviceRefused):
    """The time of the device's code is over."""

    slug = "expired-token"
    code = "expired_token"


class AccessDenied(DeviceRefused):
    """The device was turned away by its owner."""

    slug = "access-denied"
    code = "access_denied"


class Unauthenticated(PenstockError):
    """Valid credentials are needed."""

    status = 401
    slug = "unauthenticated"


class Forbidden(PenstockError):
    """These credentials do not allow this."""

    status = 403
    slug = "forbidden"


class NotFound(PenstockError, LookupError):
    """There is nothing under this name or id."""

    status = 404
    slug = "not-found"


class TooSlow(PenstockError):
    """The request did not come in time."""

    status = 408
    slug = "too-slow"


class Conflict(PenstockError):
    """The state of things does not allow this now."""

    status = 409
    slug = "conflict"


class BreakingChange(Conflict):
    """Callers that are right today would be refused."""

    slug = "breaking-change"


class AlreadyRunning(Conflict):
    """There is one run at a time, and one goes on."""

    slug = "already-running"


class KeyHeld(Conflict):
    """The run of an earlier request with this key goes on."""

    slug = "idempotency-key-held"


class PlanChanged(Conflict):
    """What was planned is not what would happen now."""

    slug = "plan-changed"


class StaleFence(Conflict):
    """This claim on the run is no longer valid."""

    slug = "stale-fence"


class CodeMissing(Conflict):
    """The code archive of this snapshot has not been uploaded."""

    slug = "code-missing"


class TooLarge(PenstockError):
    """The request body is too large."""

    status = 413
    slug = "too-large"


class Misdirected(PenstockError):
    """This server is not known under this name."""

    status = 421
    slug = "misdirected"


class HeadTooLarge(PenstockError):
    """The request line and the headers are too large."""

    status = 431
    slug = "head-too-large"


class InvalidInput(PenstockError, ValueError):
    """The input does not fit what is expected."""

    status = 422
    slug = "invalid-input"


class KeyReused(InvalidInput):
    """This idempotency key was used before with another request."""

    slug = "idempotency-key-reused"


class TooManyRequests(PenstockError):
    """Too many requests."""

    status = 429
    slug = "too-many-requests"


class Unavailable(PenstockError):
    """Penstock cannot do this right now."""

    status = 503
    slug = "unavailable"


class StorageFull(PenstockError):
    """There is no room left to store this."""

    status = 507
    slug = "storage-full"


class ServerUnreachable(PenstockError):
    """No Penstock server could be reached."""

    slug = "server-unreachable"


class HomeUnusable(ServerUnreachable):
    """The home directory of Penstock cannot be used."""

    slug = "home-unusable"


class AuthoringError(PenstockError, TypeError):
    """There is a mistake in the pipeline's code."""

    slug = "authoring-error"


class EnvironmentFailed(PenstockError):
    """An environment could not be built."""

    slug = "environment-failed"

    def __init__(
        self,
        detail: str = "",
        *,
        lines: Iterable[str] = (),
        errors: Iterable[dict[str, Any]] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail, errors=errors, headers=headers)
        self.lines = tuple(lines)
        """What was said while it was tried, at the end."""


class SourceNotFound(PenstockError, LookupError):
    """This source names no pipeline."""

    slug = "source-not-found"


class ArtifactError(PenstockError):
    """A value could not be saved or loaded."""

    slug = "artifact-error"


class RunFailed(PenstockError):
    """The run did not complete."""

    slug = "run-failed"


class RunCancelled(RunFailed):
    """The run was cancelled."""

    slug = "run-cancelled"


class TimedOut(RunFailed, TimeoutError):
    """The time for this was up."""

    slug = "timed-out"


class Stopped(RunFailed):
    """It was stopped because another step had failed."""

    slug = "stopped"


_LONGEST_NAME = 300
"""Letters of a name that may have been misspelt."""


def fault(pointer: str, message: str, *, allowed: Iterable[str] = (), given: str | None = None) -> dict[str, Any]:
    """One entry of `InvalidInput.errors`: where (a JSON pointer), what is wrong, and the nearest allowed name."""
    entry: dict[str, Any] = {"pointer": pointer, "message": message}
    names = list(allowed)
    if names:
        entry["allowed"] = names
    if given is not None and len(given) <= _LONGEST_NAME:  # to look for what is near takes time with every letter
        near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
        if near:
            entry["did_you_mean"] = near[0]
    return entry


def found(value: T | None, what: str, reference: str) -> T:
    """`value`, or `NotFound` saying which `what` was looked for."""
    if value is None:
        raise NotFound(f"There is no {what} '{reference}'.")
    return value


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901) from its unescaped parts."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def unescaped(part: str) -> str:
    """One part of a JSON pointer as it was before it was escaped."""
    return part.replace("~1", "/").replace("~0", "~")


def _tree(kind: type[PenstockError]) -> Iterable[type[PenstockError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _tree(child)


def from_problem(document: dict[str, Any], status: int) -> PenstockError:
    """The error that a server's problem document describes; unknown kinds become a plain `PenstockError`."""
    slug = str(document.get("type", "")).rpartition(":")[2]
    kinds = {kind.slug: kind for kind in _tree(PenstockError) if "slug" in vars(kind)}  # others only inherit one
    kind = kinds.get(slug, PenstockError)
    detail = str(document.get("detail") or document.get("title") or f"The server answered {status}.")
    return kind(detail, errors=document.get("errors") or ())

"""What the errors of the object services mean, whichever package raises them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import StrEnum, auto
from typing import Any


class Trouble(StrEnum):
    """What an error of a service means for who asked."""

    ABSENT = auto()
    REFUSED = auto()
    FULL = auto()
    PASSING = auto()
    WRONG = auto()


def judge(error: BaseException) -> Trouble:
    """What an error from a service means, by its HTTP status where there is one."""
    chain = list(_chain(error))
    text = " ".join(f"{_code(one)} {one}" for one in chain)
    status = next((found for one in chain if (found := _status(one))), None)
    if status == 507 or (status != 429 and _FULL.search(text)):
        return Trouble.FULL
    if any(_refused(one) for one in chain) or status in (401, 403):
        return Trouble.REFUSED
    # Before the status: aiohttp gives an answer that broke off a 400 of its own.
    if any(isinstance(one, TimeoutError) or _is_one_of(one, _LOST) for one in chain):
        return Trouble.PASSING
    if status is not None:
        return _by_status(status)
    if isinstance(error, FileNotFoundError):
        return Trouble.ABSENT
    return Trouble.PASSING if any(isinstance(one, OSError) for one in chain) else Trouble.WRONG


_FULL = re.compile(r"quota.{0,12}exceed|storage.?full|insufficient.?storage|no space left", re.IGNORECASE)
_LOST = {
    "aiohttp.ClientError",
    "azure.IncompleteReadError",
    "azure.ServiceRequestError",
    "azure.ServiceResponseError",
    "botocore.ConnectionError",
    "botocore.HTTPClientError",
    "botocore.ResponseParserError",
    "google.TransportError",
}
_NOT_LET_IN = {
    "azure.ClientAuthenticationError",
    "botocore.NoAuthTokenError",
    "botocore.NoCredentialsError",
    "botocore.PartialCredentialsError",
    "botocore.CredentialRetrievalError",
    "botocore.ProfileNotFound",
    "botocore.SSOError",
    "botocore.TokenRetrievalError",
    "google.DefaultCredentialsError",
    "google.MalformedError",
    "google.RefreshError",
}


def _by_status(status: int) -> Trouble:
    if status == 404:
        return Trouble.ABSENT
    if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
        return Trouble.PASSING
    return Trouble.WRONG


def _refused(error: BaseException) -> bool:
    # gcsfs makes a plain OSError of 403.
    forbidden = type(error) is OSError and str(error).startswith("Forbidden")
    return forbidden or isinstance(error, PermissionError) or _is_one_of(error, _NOT_LET_IN)


def _is_one_of(error: BaseException, names: set[str]) -> bool:
    """By name: the classes are those of packages that may not be there."""
    return any(f"{kind.__module__.partition('.')[0]}.{kind.__name__}" in names for kind in type(error).__mro__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """botocore, azure.core, aiohttp and gcsfs have it in four places."""
    answer = getattr(error, "response", None)
    places: list[Callable[[], Any]] = [
        lambda: answer["ResponseMetadata"]["HTTPStatusCode"] if isinstance(answer, dict) else None,
        lambda: getattr(error, "status_code", None),
        lambda: getattr(error, "status", None),
        lambda: getattr(error, "code", None),
    ]
    for look in places:
        try:
            return int(look())
        except (KeyError, TypeError, ValueError):
            continue
    return None


def _code(error: BaseException) -> str:
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        return str(answer.get("Error", {}).get("Code", ""))
    return str(getattr(error, "error_code", ""))

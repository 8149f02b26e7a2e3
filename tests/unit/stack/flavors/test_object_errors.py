"""How the services' errors are read."""

from __future__ import annotations

from typing import Any

import aiohttp
import botocore.exceptions as boto
import pytest

from penstock.stack.flavors.object_errors import Trouble, judge


def from_s3(status: int, code: str) -> Exception:
    answer: Any = {"Error": {"Code": code, "Message": "text"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "PutObject")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class Answered(Exception):
    """As gcsfs and the Azure client tell a status."""

    def __init__(self, text: str = "", **places: object) -> None:
        super().__init__(text)
        self.__dict__.update(places)


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (caused(FileNotFoundError("x"), from_s3(404, "NoSuchKey")), Trouble.ABSENT),
        (FileNotFoundError("b/o"), Trouble.ABSENT),
        (from_s3(403, "AccessDenied"), Trouble.REFUSED),
        (caused(PermissionError("expired"), from_s3(400, "ExpiredToken")), Trouble.REFUSED),
        (boto.NoCredentialsError(), Trouble.REFUSED),
        (OSError("Forbidden: https://storage\nMay not."), Trouble.REFUSED),
        (Answered(code=401), Trouble.REFUSED),
        (Answered(status_code=507), Trouble.FULL),
        (from_s3(403, "QuotaExceeded"), Trouble.FULL),
        (Answered("Quota exceeded for requests", code=429), Trouble.PASSING),
        (Answered(code="503"), Trouble.PASSING),
        (from_s3(503, "SlowDown"), Trouble.PASSING),
        (caused(TimeoutError("slow"), from_s3(400, "RequestTimeout")), Trouble.PASSING),
        (aiohttp.ServerDisconnectedError(), Trouble.PASSING),
        (caused(aiohttp.ClientPayloadError(), Answered(code=400)), Trouble.PASSING),
        (boto.EndpointConnectionError(endpoint_url="http://x"), Trouble.PASSING),
        (boto.ReadTimeoutError(endpoint_url="http://x"), Trouble.PASSING),
        (ConnectionResetError(), Trouble.PASSING),
        (from_s3(400, "InvalidRequest"), Trouble.WRONG),
        (from_s3(501, "NotImplemented"), Trouble.WRONG),
        (TypeError("a mistake of ours"), Trouble.WRONG),
    ],
)
def test_an_error_is_read(error: Exception, trouble: Trouble) -> None:
    assert judge(error) is trouble

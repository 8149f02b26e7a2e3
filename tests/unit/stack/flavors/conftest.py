"""Object services for tests of what uses them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.stack.flavors.object_store import ObjectStore
from tests.object_servers import BIG, SCHEMES, FaultyProxy, S3Server, Server, running


@pytest.fixture(params=SCHEMES)
def server(request: pytest.FixtureRequest) -> Server:
    return running(request.param)


@pytest.fixture
def s3() -> S3Server:
    found = running("s3")
    assert isinstance(found, S3Server)
    return found


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3) as found:
        yield found


@pytest.fixture
def through(s3: S3Server, proxy: FaultyProxy) -> ObjectStore:
    """A store behind the proxy."""
    return ObjectStore(**s3.options(endpoint=proxy.endpoint))


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(BIG))
    return path

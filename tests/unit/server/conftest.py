"""The application of a fresh installation, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from penstock.server.app import create_app, open_installation
from penstock.settings import Settings


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    installation = open_installation(Settings(home=tmp_path), f"unix:{tmp_path}/server.sock")
    yield create_app(installation)
    installation.db.close()


def ask(app: FastAPI, method: str, path: str, **options: object) -> httpx.Response:
    """The application's answer to one request, as if it came over TCP."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **options)  # type: ignore[arg-type]

    return asyncio.run(send())

"""Sites for acceptance tests: one shared by tests that only add to it, a fresh one for tests that break things."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.site_under_test import PATIENCE, Site

PIPELINES = Path(__file__).parent / "pipelines"

# What is asked without a limit of its own is given up by httpx after five seconds; a busy machine needs them at times.
httpx._config.DEFAULT_TIMEOUT_CONFIG.__init__(PATIENCE)  # type: ignore[misc]


@pytest.fixture
def new_site() -> Iterator[Callable[..., Site]]:
    """A function that makes a running site of its own, with settings as environment variables."""
    sites: list[Site] = []

    def make(**environment: str) -> Site:
        # Short, because a Unix socket lies in it.
        home = Path(tempfile.mkdtemp(prefix="pk-"))
        sites.append(Site(home, **environment))
        return sites[-1].start()

    yield make
    for site in sites:
        site.stop()
        shutil.rmtree(site.home, ignore_errors=True)


@pytest.fixture
def fresh(new_site: Callable[..., Site]) -> Site:
    """A running site for this test alone, with the template `lab`."""
    site = new_site()
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    return site


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A running site that tests share: they may add to it, and must leave it working."""
    home = Path(tempfile.mkdtemp(prefix="pk-"))
    running = Site(home).start()
    running.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)

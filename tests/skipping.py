"""Tests of what is not installed here: skipped, and never in silence."""

from __future__ import annotations

import warnings
from typing import NoReturn

import pytest


def skip_loudly(text: str) -> NoReturn:
    """Skip the test, and have `text` stand among the warnings at the end of the run."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # a warning is an error otherwise; this one is for the summary
        warnings.warn(text, stacklevel=3)
    pytest.skip(text)

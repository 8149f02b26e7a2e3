"""Calling the user's function, whatever it is: plain, `async def`, a generator, or one that forks."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType
from typing import Any, NoReturn

from penstock.runtime.watch import Work


def called(function: Callable[..., Any], arguments: dict[str, Any], work: Work) -> Any:
    """What the user's function returns; a coroutine is waited for, and an asynchronous generator becomes a plain one.

    A process that the function forks ends here: it is no second run of what follows.
    """
    process = os.getpid()
    try:
        result = _settled(function(**arguments), work)
    except BaseException as error:
        if os.getpid() != process:
            _end_fork(error)
        raise
    if os.getpid() != process:
        _end_fork(None)
    return result


def _settled(result: Any, work: Work) -> Any:
    if not isinstance(result, CoroutineType | AsyncGeneratorType):
        return result
    from penstock.runtime import loops  # asyncio takes longer to import than a small pipeline runs

    return loops.awaited(result, work) if isinstance(result, CoroutineType) else loops.items(result, work)


def _end_fork(error: BaseException | None) -> NoReturn:
    """End a forked process as the interpreter would, without our threads, which stayed with its parent."""
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)

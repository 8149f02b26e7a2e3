"""What went wrong, as the user's code sees it: tracebacks without the frames of Penstock and of the threads it runs on."""

from __future__ import annotations

import concurrent.futures
import threading
import traceback
from pathlib import Path
from typing import TypeVar

from penstock.author.unseen import PARSING
from penstock.errors import PenstockError
from penstock.model.run import Failure
from penstock.runtime.lines import storable
from penstock.runtime.mask import left_out

LIMIT = 64 * 1024
"""Bytes of a traceback; a longer one loses its middle."""

_MESSAGE = 8 * 1024
_OWN = (f"{Path(__file__).parents[1]}/", f"{Path(concurrent.futures.__file__).parent}/")
_PLUMBING = (threading.__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")

E = TypeVar("E", bound=BaseException)


def failure(exception: BaseException, step: str | None = None) -> Failure:
    """`exception` for the record of a run or of its step: type, message and the traceback of the user's own frames.

    Causes and contexts are kept and cleaned alike. Only if an error that is none of Penstock's own comes from Penstock
    alone are its frames shown: then they are all there is to go by. Never raises, whatever the exception's class does.
    """
    kind = type(exception)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return Failure(
        type=name, message=_bounded(_message(exception), _MESSAGE), traceback=_traceback(exception), step=step
    )


def strip(exception: E) -> E:
    """The same exception, its traceback without the frames of Penstock that led to the user's code."""
    found = exception.__traceback__
    while found is not None and _is_own(found.tb_frame.f_code.co_filename):
        found = found.tb_next
    if found is None and not isinstance(exception, PenstockError):
        return exception
    return exception.with_traceback(found)


def _message(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as error:  # noqa: BLE001  # user code may do anything in `__str__`
        return f"(its message cannot be had: __str__ raised {type(error).__name__})"


def _traceback(exception: BaseException) -> str | None:
    try:
        found = traceback.TracebackException.from_exception(exception)
        _clean(found, whole=isinstance(exception, PenstockError))
        with PARSING:  # lines are parsed to mark what in them failed
            return _bounded("".join(found.format()), LIMIT)
    except Exception:  # noqa: BLE001  # such as source files that cannot be read, or an exception that lies about itself
        return None


def _clean(found: traceback.TracebackException, *, whole: bool = True) -> None:
    """Take our frames out of `found` and of everything that it was caused by; if not `whole`, only where others are left."""
    theirs = [frame for frame in found.stack if not _is_own(frame.filename)]
    if theirs or whole:
        found.stack[:] = theirs
    for other in (found.__cause__, found.__context__, *(found.exceptions or ())):
        if other is not None:
            _clean(other)


def _is_own(file: str) -> bool:
    return file.startswith(_OWN) or file in _PLUMBING


def _bounded(text: str, limit: int) -> str:
    """`text` with as much taken out of its middle as it is too long."""
    text = storable(text)
    data = text.encode()
    if len(data) <= limit:
        return text
    half = limit // 2 - 64
    head, tail = data[:half].decode(errors="ignore"), data[-half:].decode(errors="ignore")
    return f"{head}{left_out(len(data) - 2 * half)}{tail}"

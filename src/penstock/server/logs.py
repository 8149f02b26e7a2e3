"""The server's log: lines for people or JSON for machines, each with the request and the run that it is about."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from penstock.errors import PenstockError

FORMATS = ("console", "json")

request_id: ContextVar[str | None] = ContextVar("penstock_request_id", default=None)
"""The request that is being answered here; also in the threads that work for it."""

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id", "taskName"}


def configure(kind: str) -> None:
    """Have everything that is logged in this process written to stderr in this format."""
    if kind not in FORMATS:
        raise PenstockError(f"PENSTOCK_LOG_FORMAT={kind!r}: expected one of {', '.join(FORMATS)}.")
    handler = _Stderr()
    handler.setFormatter(JsonLines() if kind == "json" else Lines())
    handler.addFilter(_identified)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # what a new database takes is nobody's news


class _Stderr(logging.StreamHandler[TextIO]):
    """Passes over lines that cannot be written: a full disk is told where it is met, not in a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the standard library's name)
        """Nothing for a disk that is full; what is wrong with the record itself is told as ever."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _identified(record: logging.LogRecord) -> bool:
    """Note on the record which request it belongs to."""
    if not hasattr(record, "request_id"):
        record.request_id = request_id.get()
    return True


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


class Lines(logging.Formatter):
    """One line for a person. Nothing that a caller sent can begin a line of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the standard library's name)
        """The line, with what is known besides at its end."""
        request = getattr(record, "request_id", None)
        known = {**({"request_id": request} if request else {}), **_extras(record)}
        line = super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")
        return line + "".join(f" {name}={value}" for name, value in known.items())


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, `request_id`, `run_id`, and `exception` with its trace."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request = getattr(record, "request_id", None)
        if request:
            told["request_id"] = request
        told |= _extras(record)
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)

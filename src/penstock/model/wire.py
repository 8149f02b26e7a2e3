"""Readers of records from JSON, one for each type and process."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")

_lock = Lock()
_readers: dict[Any, Callable[[bytes | str], Any]] = {}


def reader(kind: type[T]) -> Callable[[bytes | str], T]:
    """The function that makes a `kind` of JSON; raises `msgspec.DecodeError`. Any number of threads may ask for it.

    They must not make decoders of their own: msgspec notes on a dataclass what it finds out about it before it has found out
    all, so that a thread that comes to the same record meanwhile reads what is not there yet, and the process ends.
    """
    known = _readers.get(kind)
    if known is None:
        with _lock:
            known = _readers.get(kind)
            if known is None:
                known = _readers[kind] = msgspec.json.Decoder(kind).decode
    return cast("Callable[[bytes | str], T]", known)

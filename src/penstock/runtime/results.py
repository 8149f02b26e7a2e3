"""What the steps of a run left: the latest results whole, earlier ones packed, so that memory hardly grows with their number."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from threading import Lock
from typing import Any

import msgspec

from penstock.model.artifact import Artifact
from penstock.model.wire import reader
from penstock.runtime.values import Kept

LATEST = 1000
"""So many steps have their results whole. As Python objects they take ten times the memory that they take packed."""

_SMALL = 256
"""Bytes of a value that stays in memory for good; a larger one is loaded from the store if it is asked for later."""


class _Record(msgspec.Struct, array_like=True):
    output: str
    artifact: Artifact
    foreign: bool
    shared: bool


class Results:
    """Outputs of ended steps, by invocation id. Any number of threads may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._latest: OrderedDict[str, dict[str, Kept]] = OrderedDict()
        self._held: dict[str, dict[str, Kept]] = {}
        """Earlier ones that are nowhere else: they stay whole."""

        self._packed: dict[str, tuple[Any, ...]] = {}
        """Invocation id -> its records, packed, and then the value of each one that is shared."""

        self._first = b""
        """The first records that were packed: all others repeat most of it."""

    def add(self, step: str, kept: dict[str, Kept]) -> None:
        """The step has ended, and left these outputs."""
        with self._lock:
            self._latest[step] = kept
            if len(self._latest) > LATEST:
                self._pack(*self._latest.popitem(last=False))

    def of(self, step: str, output: str) -> Kept:
        """One output of a step that has ended. Raises `KeyError` if it left none of this name."""
        with self._lock:
            latest = self._latest.get(step) or self._held.get(step)
            if latest is not None:
                return latest[output]
            packed = self._packed[step]
        return self._unpacked(*packed)[output]

    def _pack(self, step: str, kept: dict[str, Kept]) -> None:
        if any(one.held for one in kept.values()):
            self._held[step] = kept
            return
        records, values = [], []
        for output, one in kept.items():
            shared = one.shared and one.artifact.size <= _SMALL
            records.append(_Record(output, one.artifact, one.foreign, shared))
            values += [one.value] if shared else []
        told = msgspec.json.encode(records)
        self._first = self._first or told
        packer = zlib.compressobj(level=1, wbits=-10, memLevel=4, zdict=self._first)
        self._packed[step] = (packer.compress(told) + packer.flush(), *values)

    def _unpacked(self, packed: bytes, *values: Any) -> dict[str, Kept]:
        told = zlib.decompressobj(wbits=-10, zdict=self._first).decompress(packed)
        rest = iter(values)
        return {
            one.output: Kept(one.artifact, next(rest) if one.shared else None, one.shared, one.foreign)
            for one in reader(list[_Record])(told)
        }

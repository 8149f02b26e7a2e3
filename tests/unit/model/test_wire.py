"""Readers of records, asked for by many threads at once."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from penstock.model.artifact import File
from penstock.model.wire import reader

# In a process of its own: what this guards against ends the process, and does so at once if decoders are made here instead.
RACE = """
import sys, threading, types
from concurrent.futures import ThreadPoolExecutor
from penstock.model.wire import reader

RECORDS = '''
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Literal

@dataclass(frozen=True, kw_only=True)
class Leaf:
    kind: Literal["a", "b"]
    leaves: tuple[Leaf, ...] = ()
    tree: Tree | None = None

@dataclass(frozen=True, kw_only=True)
class Tree:
    leaf: Leaf
    trees: dict[str, Tree] = field(default_factory=dict)
'''

sys.setswitchinterval(1e-6)
for number in range(100):
    module = sys.modules[f"made_{number}"] = types.ModuleType(f"made_{number}")
    exec(RECORDS, module.__dict__)
    gate = threading.Barrier(8)

    def read(place):
        gate.wait()
        if place % 2:
            return reader(module.Leaf)(b'{"kind": "a", "leaves": [{"kind": "b"}]}').leaves[0].kind
        return reader(module.Tree)(b'{"leaf": {"kind": "b"}}').leaf.kind

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == ["b"] * 8
print("read")
"""


def test_threads_may_ask_for_readers_of_types_that_share_records() -> None:
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


def test_there_is_one_for_each_type() -> None:
    assert reader(File) is not reader(list[File])
    assert reader(File)(b'{"name": "a", "digest": "b", "size": 1}') == File(name="a", digest="b", size=1)
    with pytest.raises(msgspec.DecodeError):
        reader(File)(b"{}")

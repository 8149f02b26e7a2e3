from __future__ import annotations

import copy
import io
import json
import math
import operator
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from penstock.author.markers import NOTICED, PipelineParameter, ShapeDecided, name_of


def notice(name: str) -> NoReturn:
    raise ShapeDecided(name)


def marker() -> Any:
    return PipelineParameter("n", notice)


LOOKS: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "if": lambda n: 1 if n else 2,
    "or": lambda n: n or 1,
    "not": lambda n: not n,
    "==": lambda n: n == 1,
    "== from the left": lambda n: operator.eq(1, n),
    "!=": lambda n: n != 1,
    "<": lambda n: n < 1,
    "chain": lambda n: 0 < n < 5,
    "max": lambda n: max(n, 3),
    "sorted": lambda n: sorted([3, n]),
    "str": str,
    "repr": repr,
    "f-string": lambda n: f"{n}",
    "f-string with conversion": lambda n: f"{n!r:>10}",
    "format": "{}".format,
    "percent": lambda n: "%s" % n,  # noqa: UP031 - what users write
    "print": lambda n: print(n, file=io.StringIO()),
    "text +": lambda n: "a" + n,
    "text + from the right": lambda n: n + "a",
    "+": lambda n: n + 1,
    "+ from the left": lambda n: 1 + n,
    "+=": lambda n: operator.iadd(n, 1),
    "sum": lambda n: sum([n]),
    "*": lambda n: [1] * n,
    "/": lambda n: n / 2,
    "//": lambda n: n // 2,
    "%": lambda n: 7 % n,
    "divmod": lambda n: divmod(n, 2),
    "**": lambda n: 2**n,
    "pow": lambda n: pow(n, 2, 3),
    "@": lambda n: n @ n,
    "&": lambda n: n & 1,
    "|": lambda n: {} | n,
    "<<": lambda n: 1 << n,
    "-": operator.neg,
    "~": operator.invert,
    "abs": abs,
    "int": int,
    "float": float,
    "complex": complex,
    "round": round,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "index": operator.index,
    "range": range,
    "list[n]": lambda n: [1, 2][n],
    "slice": lambda n: [1, 2][:n],
    "bytes": bytes,
    "hex": hex,
    "len": len,
    "iter": iter,
    "for": lambda n: [x for x in n],  # noqa: C416 - a loop is what is tested
    "unpack": lambda n: [*n],
    "unpack mapping": lambda n: {**n},
    "zip": lambda n: list(zip(n, n, strict=True)),
    "enumerate": enumerate,
    "next": next,
    "reversed": reversed,
    "in": lambda n: 1 in n,
    "in list": lambda n: n in [1, 2],
    "in set": lambda n: n in {1, 2},
    "hash": hash,
    "key": lambda n: {n: 1},
    "lookup": {}.get,
    "set": lambda n: {n},
    "n[0]": lambda n: n[0],
    "n[0] =": lambda n: operator.setitem(n, 0, 1),
    "del n[0]": lambda n: operator.delitem(n, 0),
    "attribute": lambda n: n.value,
    "method": lambda n: n.upper(),
    "getattr": lambda n: getattr(n, "x", None),
    "hasattr": lambda n: hasattr(n, "x"),
    "setattr": lambda n: setattr(n, "x", 1),
    "delattr": lambda n: delattr(n, "x"),
    "dir": dir,
    "vars": vars,
    "isinstance": lambda n: isinstance(n, int),
    "isinstance of several": lambda n: isinstance(n, (int, str)),
    "isinstance of a protocol": lambda n: isinstance(n, Sequence),
    "__class__": lambda n: n.__class__,
    "call": lambda n: n(),
    "with": operator.methodcaller("__enter__"),
    "json": json.dumps,
    "json inside": lambda n: json.dumps({"a": [n]}),
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "path": os.fspath,
    "join": lambda n: os.path.join("a", n),
    "Path": Path,
    "open": open,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_whoever_looks_is_noticed(look: Callable[[Any], Any]) -> None:
    with pytest.raises(ShapeDecided, match=r"^n$"):
        look(marker())


@pytest.mark.parametrize("method", NOTICED)
def test_every_special_method_is_noticed(method: str) -> None:
    with pytest.raises(ShapeDecided):
        getattr(PipelineParameter, method)(marker(), *([0] * 3))


def test_numpy_is_noticed() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(ShapeDecided):
        numpy.array(marker())
    with pytest.raises(ShapeDecided):
        numpy.add(1, marker())


def test_passing_it_on_is_not() -> None:
    one = marker()
    kept = {"a": [one, (one,)]}
    assert kept["a"][0] is one
    assert type(one) is PipelineParameter
    assert name_of(one) == "n"
    assert dict(x=one)["x"] is one  # noqa: C408 - passed by name


def test_no_handler_of_exceptions_takes_it_for_an_error() -> None:
    assert not issubclass(ShapeDecided, Exception)

"""What a pipeline function gives back, by name: the same names whether it is traced or carried out."""

from __future__ import annotations

from collections import Counter
from typing import Any

from penstock.author.handle import Handle


def named(returned: Any) -> dict[str, Any]:
    """The outputs of a pipeline whose function returned `returned`.

    None: none. A mapping with text keys: by key. A handle: under the name of the step's output. A list or tuple with at
    least one handle: each handle under its output's name, or `<step>.<output>` where several share one; everything else
    in it as `output_<position>`. Anything else is one output, `output`. Values are never looked at, only their types.
    """
    kind = type(returned)
    if returned is None:
        return {}
    if kind is Handle:
        return {returned.output: returned}
    if issubclass(kind, dict) and all(issubclass(type(key), str) for key in returned):
        return dict(returned)
    if issubclass(kind, (list, tuple)) and any(type(item) is Handle for item in returned):
        return _each(returned)
    return {"output": returned}


def _each(items: list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    handles = {(item.step, item.output) for item in items if type(item) is Handle}
    others = {index: f"output_{index}" for index, item in enumerate(items) if type(item) is not Handle}
    uses = Counter([output for _, output in handles] + list(others.values()))
    names = {}
    for index, item in enumerate(items):
        if type(item) is not Handle:
            names[others[index]] = item
        elif uses[item.output] == 1:
            names[item.output] = item
        else:
            names[f"{item.step}.{item.output}"] = item
    return names

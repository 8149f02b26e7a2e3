"""Mappings from names to torch's tensors, such as `module.state_dict()`: one safetensors file."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

from penstock.runtime.materializers import summary
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.preview import shortened
from penstock.runtime.materializers.torch_tensor import Writer, read, restored

_FILE = "state.safetensors"
_SHOWN = 40
_NAME = 100


class TorchState(Materializer):
    """A `dict` or `OrderedDict` with tensors and nothing else in it; every other one is left to `Structured`.

    It may go into any module of the right shape, here or elsewhere, and into every other tool that reads safetensors.
    """

    name = "torch_state"

    def handles(self, kind: type) -> bool:
        """Whether it is one of the two."""
        return kind in (dict, OrderedDict)

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the tensors, streamed, with their order and torch's notes on them."""
        torch = sys.modules.get("torch")
        if torch is None or not value or not all(isinstance(one, torch.Tensor) for one in value.values()):
            raise Unfit
        notes = dict(getattr(value, "__dict__", {}))
        if type(value) not in (dict, OrderedDict) or notes.keys() - {"_metadata"}:
            raise Unfit
        writer = Writer()
        described = {
            "tensors": [(name, writer.form(name, tensor)) for name, tensor in value.items()],
            "ordered": type(value) is OrderedDict,
            "notes": notes,
        }
        writer.write(sink, _FILE, described)
        return summary.attempt(lambda: _facts(value), {})  # type: ignore[no-any-return]

    def load(self, files: Files, type_hint: Any) -> Any:
        """The mapping, its tensors in main memory."""
        described, tensors = read(files, _FILE)
        state: Any = OrderedDict() if described["ordered"] else {}
        state.update((name, restored(kept, tensors)) for name, kept in described["tensors"])
        if described["notes"]:
            vars(state).update(described["notes"])
        return state


def _facts(state: Any) -> dict[str, Any]:
    shown = [
        {"name": shortened(str(name), _NAME), "shape": list(tensor.shape), "dtype": str(tensor.dtype)}
        for name, tensor in list(state.items())[:_SHOWN]
    ]
    return {
        "tensor_count": len(state),
        "numbers": sum(tensor.numel() for tensor in state.values()),
        "bytes": sum(tensor.nbytes for tensor in state.values()),
        "tensors": shown,
    }

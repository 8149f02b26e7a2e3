"""torch's tensors, as safetensors: bytes with a header, and no code in them.

Kept is what `torch.save` would keep, without its pickle: values, shape, dtype, and whether gradients are wanted. The graph that a
tensor was calculated by is not; and it comes back in main memory, wherever it was.

A module is more than its tensors: only its class can build it. So it is left to pickle, which is marked; what travels without
is `module.state_dict()`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from penstock.runtime.materializers import summary
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.structured import decoded, encoded

_FILE = "tensor.safetensors"
_HEADER = "penstock"
_RESERVED = "__metadata__"  # the name of the header itself, in the format

Form = dict[str, Any]
"""How one tensor was kept: under which `key`, whether it is a `parameter`, whether it `requires_grad`."""


class TorchTensor(Materializer):
    """`Tensor` and `Parameter`, dense, of any dtype that safetensors has; what else there is is left to pickle."""

    name = "torch"

    def handles(self, kind: type) -> bool:
        """Whether it is torch's tensor."""
        return kind.__module__ == "torch" and kind.__name__ == "Tensor"

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the tensor, streamed."""
        writer = Writer()
        writer.write(sink, _FILE, writer.form("tensor", value))
        return {
            "shape": list(value.shape),
            "dtype": str(value.dtype),
            "device": str(value.device),
            "requires_grad": value.requires_grad,
            "bytes": value.nbytes,
            **summary.attempt(lambda: _statistics(value), {}),
        }

    def load(self, files: Files, type_hint: Any) -> Any:
        """The tensor, in main memory."""
        return restored(*read(files, _FILE))


class Writer:
    """Tensors on their way into one file; each leaves a form. What is one place in memory is kept once."""

    def __init__(self) -> None:
        self._tensors: dict[str, Any] = {}
        self._keys: dict[Any, str] = {}

    def form(self, name: Any, tensor: Any) -> Form:
        """Take a tensor in under `name`. Raises `Unfit` if it would not come back the same."""
        import torch  # imported already: the value is of it

        kind = type(tensor)
        if kind not in (torch.Tensor, torch.nn.Parameter) or tensor.layout is not torch.strided or vars(tensor):
            raise Unfit
        if tensor.is_quantized or tensor.is_nested or tensor.device.type == "meta" or not _is_exact(tensor.dtype):
            raise Unfit
        if not isinstance(name, str) or name == _RESERVED or not _is_unicode(name):
            raise Unfit
        key = self._keys.setdefault(_place(tensor), name)
        self._tensors.setdefault(key, tensor)
        return {"key": key, "parameter": kind is torch.nn.Parameter, "requires_grad": tensor.requires_grad}

    def write(self, sink: Sink, file: str, described: Any) -> None:
        """Keep all tensors in one file, with a description."""
        import torch  # imported already: the value is of it
        from safetensors.torch import save_file  # there, or no tensor had got a form

        header = encoded(described, refuse).decode()
        storages: set[tuple[Any, int]] = set()
        dense: dict[str, Any] = {}
        for key, tensor in self._tensors.items():
            one = tensor.detach().resolve_conj().resolve_neg().contiguous()
            place = (one.device, one.untyped_storage().data_ptr())
            # Tensors that overlap are refused by it.
            dense[key] = one.clone(memory_format=torch.contiguous_format) if place in storages else one
            storages.add(place)
        save_file(dense, sink.path(file), {_HEADER: header})


def restored(kept: Form, tensors: Mapping[str, Any]) -> Any:
    """The tensor of this form. Forms of one key share their memory, as the tensors did."""
    import torch  # only where there is a tensor to read

    tensor = tensors[kept["key"]].detach()
    if kept["parameter"]:
        return torch.nn.Parameter(tensor, requires_grad=kept["requires_grad"])
    return tensor.requires_grad_(kept["requires_grad"])


def read(files: Files, name: str) -> tuple[Any, dict[str, Any]]:
    """The description and the tensors that a `Writer` kept."""
    from safetensors import safe_open  # only where there is a tensor to read

    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        path = Path(folder) / "tensors"
        files.copy(name, path)
        with safe_open(path, "pt") as opened:  # mapped into memory, which outlives the name of the file
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  # it is no mapping
            return decoded(opened.metadata()[_HEADER].encode(), refuse), tensors


def refuse(_: Any) -> Any:
    """In the place of parts: what is no data has no place in a header."""
    raise Unfit


@cache
def _is_exact(dtype: Any) -> bool:
    """Whether safetensors has this dtype: seen by writing a tensor of it without numbers."""
    import torch  # imported already: the dtype is of it

    try:
        from safetensors.torch import load, save  # optional: torch does not bring it
    except ImportError:
        raise Unfit from None  # not an answer to remember: it may be installed later
    try:
        return bool(load(save({"none": torch.empty(0, dtype=dtype)}))["none"].dtype == dtype)
    except Exception:  # noqa: BLE001  # it raises KeyError, RuntimeError or its own, by version
        return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _place(tensor: Any) -> Any:
    """Equal for tensors that are one place in memory, seen in the same way: weights that layers share, for instance."""
    if not tensor.numel():
        return id(tensor)
    view = (tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg())
    return (tensor.device, tensor.data_ptr(), *view)


def _statistics(tensor: Any) -> dict[str, Any]:
    """Extent, mean and histogram of real numbers."""
    import torch  # imported already: the value is of it

    if not tensor.numel() or tensor.is_complex() or tensor.dtype == torch.bool:
        return {}
    every = summary.stride(tensor.numel())
    values = tensor.detach().flatten()
    if values.dtype in {torch.uint16, torch.uint32}:
        values = values.long()  # torch counts with few of the unsigned
    facts: dict[str, Any] = {}
    if values.is_floating_point():
        values = values.float() if values.element_size() < 4 else values
        finite = torch.isfinite(values)
        if not finite.all():
            facts["not_finite"] = int((~finite).sum())
            values = values[finite]
            every = summary.stride(values.numel())
    if not values.numel():
        return facts
    facts |= {"min": values.min().item(), "max": values.max().item(), "mean": values.mean(dtype=torch.float64).item()}
    low = float(facts["min"])
    per_unit = summary.scale(low, float(facts["max"]))
    if per_unit is None:
        return facts
    bins = ((values[::every].double() - low) * per_unit).long().clamp(0, summary.BINS - 1)
    counts = torch.bincount(bins, minlength=summary.BINS).tolist()
    return facts | summary.histogram(dict(enumerate(counts)), every)

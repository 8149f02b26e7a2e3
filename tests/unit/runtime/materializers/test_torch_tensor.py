from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import ArtifactError
from penstock.runtime.materializers import torch_tensor

torch = pytest.importorskip(
    "torch", reason="the lock has no torch: the index has it with several gigabytes of CUDA only"
)

TENSORS = [
    torch.arange(6).reshape(2, 3),
    torch.arange(6).reshape(2, 3).T,
    torch.arange(10)[::3],
    torch.arange(1000)[3:5],
    torch.tensor(5.0),
    torch.zeros(0, 3, dtype=torch.int8),
    torch.tensor([1.5, float("nan"), float("-inf")], dtype=torch.float64),
    torch.tensor([1.5, -2], dtype=torch.bfloat16),
    torch.tensor([1.5, -2], dtype=torch.float16),
    torch.tensor([1.5, -2]).to(torch.float8_e4m3fn),
    torch.tensor([True, False]),
    torch.tensor([1 + 2j]),
    torch.tensor([1 + 2j]).conj(),
    torch.tensor([1, 2], dtype=torch.uint16),
    torch.ones(2, 3).expand(4, 2, 3),
    torch.ones(1, 2, 3, 4).to(memory_format=torch.channels_last),
    torch.tensor([1.0], requires_grad=True),
]


def widest(tensor: Any) -> Any:
    return tensor.detach() if tensor.is_complex() else tensor.detach().double()


@pytest.mark.parametrize("value", TENSORS, ids=lambda value: f"{value.dtype} {tuple(value.shape)}")
def test_tensors_come_back(there_and_back: Callable[[Any, str], Any], value: Any) -> None:
    back = there_and_back(value, "torch")
    assert type(back) is torch.Tensor
    assert (back.dtype, back.shape, back.requires_grad) == (value.dtype, value.shape, value.requires_grad)
    torch.testing.assert_close(widest(back), widest(value), rtol=0, atol=0, equal_nan=True)


def test_a_parameter_comes_back(there_and_back: Callable[[Any, str], Any]) -> None:
    for value in (torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2), requires_grad=False)):
        back = there_and_back(value, "torch")
        assert type(back) is torch.nn.Parameter
        assert back.requires_grad == value.requires_grad


def test_a_loss_comes_back_without_its_graph(there_and_back: Callable[[Any, str], Any]) -> None:
    loss = (torch.ones(2, requires_grad=True) * 3).sum()
    back = there_and_back(loss, "torch")
    assert (back.item(), back.requires_grad, back.grad_fn) == (6.0, True, None)


def test_a_big_tensor_comes_back_and_may_be_written_to(there_and_back: Callable[[Any, str], Any]) -> None:
    value = torch.randn(700, 500)
    back = there_and_back(value, "torch")
    assert back.equal(value)
    back[0, 0] = 7
    assert back[0, 0] == 7


def test_a_slice_does_not_drag_its_whole_along(shelf: Any) -> None:
    assert shelf.save(torch.zeros(1_000_000)[:2]).size < 1000


class Mine(torch.Tensor):
    pass


def with_attribute() -> Any:
    value = torch.ones(1)
    value.unit = "m"  # type: ignore[attr-defined]
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(2, 2).to_sparse(),
        lambda: torch.ones(2, device="meta"),
        lambda: torch.ones(2, dtype=torch.complex128),
        lambda: torch.ones(2).as_subclass(Mine),
        with_attribute,
        lambda: torch.nn.Linear(2, 2),
    ],
)
def test_what_safetensors_cannot_hold_is_pickled_and_says_so(shelf: Any, make: Callable[[], Any]) -> None:
    artifact = shelf.save(make())
    assert (artifact.materializer, artifact.code_bearing) == ("pickle", True)
    with pytest.raises(ArtifactError, match="PENSTOCK_ALLOW_PICKLE"):
        shelf.load(artifact)


def test_without_safetensors_tensors_are_pickled_and_say_so(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_tensor._is_exact.cache_clear()
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert shelf.save(torch.ones(1)).materializer == "pickle"
    assert shelf.save({"a": torch.ones(1)}).code_bearing


def test_the_facts(shelf: Any) -> None:
    facts = shelf.save(torch.tensor([[0.0, float("nan")], [1.0, 9.0]])).metadata
    assert facts == {
        "shape": [2, 2],
        "dtype": "torch.float32",
        "device": "cpu",
        "requires_grad": False,
        "bytes": 16,
        "not_finite": 1,
        "min": 0.0,
        "max": 9.0,
        "mean": 10 / 3,
        "histogram": [1, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    }


@pytest.mark.parametrize("value", TENSORS, ids=lambda value: f"{value.dtype} {tuple(value.shape)}")
def test_every_tensor_has_facts(shelf: Any, value: Any) -> None:
    facts = shelf.save(value).metadata
    assert facts["shape"] == list(value.shape)
    real = value.dtype != torch.bool and not value.is_complex() and value.numel() > 0
    assert ("mean" in facts) == real
    json.dumps(facts, allow_nan=False)

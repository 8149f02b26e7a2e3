from __future__ import annotations

import copy
import dataclasses
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import ArtifactError
from penstock.runtime.materializers.preview import LIMIT

torch = pytest.importorskip(
    "torch", reason="the lock has no torch: the index has it with several gigabytes of CUDA only"
)
load = pytest.importorskip("safetensors.torch").load


def network() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))


def test_a_state_comes_back_and_goes_into_a_module(there_and_back: Callable[[Any, str], Any]) -> None:
    model = network()
    state = model.state_dict()
    back = there_and_back(state, "torch_state")
    assert type(back) is OrderedDict
    assert list(back) == list(state)
    assert back._metadata == state._metadata
    assert all(back[name].equal(state[name]) for name in state)
    other = network()
    other.load_state_dict(back)
    data = torch.randn(5, 3)
    assert other.eval()(data).equal(model.eval()(data))


def test_it_is_a_file_that_others_read(shelf: Any) -> None:
    state = network().state_dict()
    artifact = shelf.save(state)
    assert [file.name for file in artifact.files] == ["state.safetensors"]
    assert load(shelf.store.get(artifact.digest)).keys() == state.keys()


def test_equal_states_have_equal_digests(shelf: Any) -> None:
    state = network().state_dict()
    assert shelf.save(state).digest == shelf.save(copy.deepcopy(state)).digest


def test_a_plain_dict_stays_one_in_its_order(there_and_back: Callable[[Any, str], Any]) -> None:
    value = {"b": torch.ones(1, dtype=torch.int8), "a": torch.ones(2), "ä.$type": torch.nn.Parameter(torch.ones(2))}
    back = there_and_back(value, "torch_state")
    assert type(back) is dict
    assert list(back) == list(value)
    assert [type(one) for one in back.values()] == [torch.Tensor, torch.Tensor, torch.nn.Parameter]


def test_shared_weights_are_kept_once_and_stay_shared(shelf: Any) -> None:
    weight = torch.randn(1000)
    artifact = shelf.save(
        {"embedding": weight, "head": weight.view(1000), "part": weight[:10], "turned": weight.flip(0)}
    )
    assert artifact.size < 2.5 * weight.nbytes
    back = shelf.load(artifact)
    back["embedding"][0] = 7
    assert back["head"][0] == 7
    assert back["part"][0] == weight[0]
    assert back["turned"].equal(weight.flip(0))


@pytest.mark.parametrize(
    "value", [{}, {"a": 1}, {"a": torch.ones(1), "epoch": 3}, OrderedDict(), OrderedDict(a=1), {"a": [torch.ones(1)]}]
)
def test_other_mappings_are_kept_as_ever(there_and_back: Callable[[Any, str], Any], value: Any) -> None:
    back = there_and_back(value, "structured")
    assert type(back) is type(value)
    assert back == value


def test_a_checkpoint_comes_back(there_and_back: Callable[[Any, str], Any]) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    back = there_and_back({"epoch": 3, "optimizer": optimizer.state_dict()}, "structured")
    torch.optim.Adam(network().parameters()).load_state_dict(back["optimizer"])
    assert back["epoch"] == 3


class Thing:
    pass


def test_what_the_header_cannot_say_is_kept_otherwise(shelf: Any) -> None:
    assert shelf.save({Thing(): torch.ones(1)}).code_bearing
    for name in (1, "__metadata__", "\ud800"):
        artifact = shelf.save({name: torch.ones(1)})
        assert artifact.materializer == "structured"
        assert shelf.load(artifact)[name].equal(torch.ones(1))
    with_note = OrderedDict(a=torch.ones(1))
    with_note.note = 1  # type: ignore[attr-defined]
    assert shelf.save(with_note).materializer != "torch_state"


def test_a_damaged_file_is_an_error(shelf: Any) -> None:
    artifact = shelf.save({"a": torch.ones(1)})
    data = shelf.store.get(artifact.digest)
    for broken in (data[:-1], b"", b"\xff" * 100):
        digest, size = shelf.store.put(broken)
        file = dataclasses.replace(artifact.files[0], digest=digest, size=size)
        with pytest.raises(ArtifactError, match="cannot be loaded"):
            shelf.load(dataclasses.replace(artifact, files=(file,), digest=digest))


def test_the_facts(shelf: Any) -> None:
    facts = shelf.save({"w": torch.ones(2, 3), "b": torch.ones(3)}).metadata
    assert (facts["tensor_count"], facts["numbers"], facts["bytes"]) == (2, 9, 36)
    assert facts["tensors"][0] == {"name": "w", "shape": [2, 3], "dtype": "torch.float32"}
    many = shelf.save({f"{'layer.' * 50}{number}": torch.ones(1) for number in range(500)}).metadata
    assert len(many["tensors"]) == 40
    assert len(json.dumps(many)) <= LIMIT

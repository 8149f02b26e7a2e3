from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from penstock.runtime.randomness import Randomness


@pytest.fixture(autouse=True)
def _keep_state() -> Iterator[None]:
    state, numpy_state = random.getstate(), np.random.get_state()
    yield
    random.setstate(state)
    np.random.set_state(numpy_state)


def after_a_fork(seed: Any = None) -> float:
    """The first draw in a fork after a module was imported that called `seed`."""
    randomness = Randomness()
    if seed is not None:
        seed()
    randomness.imported()
    random.seed()  # what `random` does by itself in every fork
    randomness.forked()
    return random.random()


def test_a_seed_set_by_the_module_holds() -> None:
    random.seed(42)
    expected = random.random()
    assert after_a_fork(lambda: random.seed(42)) == expected


def test_draws_without_a_seed_do_not_repeat() -> None:
    assert after_a_fork() != after_a_fork()
    assert after_a_fork(random.random) != after_a_fork(random.random)


def test_numpy_is_renewed_unless_it_was_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    legacy = np.random.RandomState()
    monkeypatch.setattr("numpy.random.get_bit_generator", lambda: legacy._bit_generator)
    monkeypatch.setattr("numpy.random.seed", legacy.seed)
    before = legacy.get_state()[1]
    after_a_fork()
    assert (legacy.get_state()[1] != before).any()
    np.random.seed(7)
    drawn = np.random.RandomState(7).random_sample(5)
    after_a_fork(lambda: legacy.random_sample(2))
    assert (legacy.random_sample(3) == drawn[2:]).all()


@pytest.mark.parametrize(("seed", "renewed"), [(42, False), (0x9E3779B97F4A7C15, True)])
def test_torch_is_renewed_unless_it_was_seeded(monkeypatch: pytest.MonkeyPatch, seed: int, renewed: bool) -> None:
    torch: Any = ModuleType("torch")
    calls: list[int] = []
    torch.initial_seed, torch.seed = lambda: seed, lambda: calls.append(1)
    monkeypatch.setitem(sys.modules, "torch", torch)
    after_a_fork()
    assert bool(calls) == renewed

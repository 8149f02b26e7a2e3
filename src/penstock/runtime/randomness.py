"""Random generators across a fork: a seed that the user's module set holds for every run; chance is new for each run."""

from __future__ import annotations

import random
import sys
from typing import Any


class Randomness:
    """The global generators of `random`, numpy and torch. To be made before the user's module is imported."""

    def __init__(self) -> None:
        self._unseeded = _key()
        self._kept: tuple[Any, ...] | None = None
        self._renew_numpy = self._renew_torch = False

    def imported(self) -> None:
        """The user's module has been imported: note which generators it seeded."""
        self._kept = random.getstate() if _key() != self._unseeded else None
        numpy_random, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
        # numpy forgets where its first entropy came from when somebody seeds it.
        self._renew_numpy = numpy_random is not None and numpy_random.get_bit_generator().seed_seq is not None
        # torch begins with 64 random bits, people write small numbers.
        self._renew_torch = torch is not None and torch.initial_seed() >= 1 << 32

    def forked(self) -> None:
        """In the forked process: new entropy for generators that nobody seeded."""
        if self._kept is not None:
            random.setstate(self._kept)  # `random` takes new entropy by itself in every fork
        if self._renew_numpy:
            sys.modules["numpy.random"].seed()
        if self._renew_torch:
            sys.modules["torch"].seed()


def _key() -> tuple[int, ...]:
    """The inner state of `random` but for its position: it changes by seeding, or after 624 draws."""
    return tuple(random.getstate()[1][:-1])

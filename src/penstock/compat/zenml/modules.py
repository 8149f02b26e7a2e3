"""The modules that stand in for ZenML's: each knows a few names, and says of all others what to do instead."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from penstock.author.source import preload
from penstock.compat.zenml.names import ADVICE, MODULES
from penstock.errors import AuthoringError

ROOT = "zenml"


def install() -> None:
    """Have `import zenml` and what is below it find Penstock, in this process and in the runs of what it freezes.

    Raises `AuthoringError`, changing nothing, where ZenML itself is installed: nobody's import is taken over in secret.
    """
    if isinstance(sys.modules.get(ROOT), _StandIn):
        return
    if ROOT in sys.modules or PathFinder.find_spec(ROOT) is not None:
        raise AuthoringError(
            "ZenML is installed in this environment, and penstock.compat.zenml never takes its place: uninstall it "
            "(pip uninstall zenml), or run this code in an environment without it."
        )
    for name in MODULES:
        sys.modules[name] = _StandIn(name)
    for name in MODULES:
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    sys.meta_path.append(_Adviser())
    preload("penstock.compat.zenml")


class _StandIn(ModuleType):
    """One module; its names are looked up when they are asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "Stands in for a module of ZenML: see penstock.compat.zenml.")
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__all__ = list(MODULES[name])

    def __getattr__(self, name: str) -> Any:
        place = MODULES[self.__name__].get(name)
        if place is None:
            raise AttributeError(_unknown(self.__name__, name))
        module, _, attribute = place.partition(":")
        value = getattr(import_module(module), attribute)
        setattr(self, name, value)
        return value


class _Adviser(MetaPathFinder):
    """Asked last, for modules that there are not: says what to do instead."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Nothing is ever found here; for modules of ZenML it is said why."""
        if fullname.partition(".")[0] == ROOT:
            parent, _, name = fullname.rpartition(".")
            # Without `name=`: Python takes an error that names the module for a plain miss, and drops its words.
            raise ModuleNotFoundError(_unknown(parent, name))
        return None


def _unknown(module: str, name: str) -> str:
    whole = f"{module}.{name}"
    advice = next((ADVICE[known] for known in (name, whole, ".".join(whole.split(".")[:2])) if known in ADVICE), None)
    known = ", ".join(MODULES.get(module, ())) or "nothing"
    return f"Penstock has nothing behind '{whole}'. " + (
        f"What to do instead: {advice}." if advice else f"'{module}' has here: {known}."
    )

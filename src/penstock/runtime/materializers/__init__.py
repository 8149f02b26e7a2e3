"""Values between steps: each is kept by a materializer of its type, and comes back equal."""

from __future__ import annotations

from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.registry import find, register
from penstock.runtime.materializers.values import Inline, inline, load, save

__all__ = ["Files", "Inline", "Materializer", "Sink", "Unfit", "find", "inline", "load", "register", "save"]

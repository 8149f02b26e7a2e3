"""A stack: what a run uses. Components are named by kind and flavor; their options belong to the flavor."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Component:
    """One part of a stack: which implementation (`flavor`), with which options."""

    flavor: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The record of a stack. Component kinds follow the field's words: `orchestrator`, `artifact_store`, ..."""

    id: str
    name: str
    components: dict[str, Component]
    created: datetime

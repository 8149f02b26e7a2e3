"""A pipeline as the server knows it: the name under which its snapshots gather."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The record of a pipeline. It appears when its first snapshot is frozen."""

    id: str
    name: str
    latest_snapshot_id: str | None
    created: datetime

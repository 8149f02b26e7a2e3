"""The version of this Penstock, in one place that costs nothing to import."""

from __future__ import annotations

VERSION = "0.1.0"

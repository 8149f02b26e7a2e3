"""Start runs of chosen templates from inside your own FastAPI application: `trigger_router`. Imports FastAPI."""

from __future__ import annotations

from penstock.fastapi.router import trigger_router

__all__ = ["trigger_router"]

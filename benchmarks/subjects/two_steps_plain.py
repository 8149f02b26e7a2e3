"""The yardstick of a deployment: the same arithmetic in an endpoint of bare FastAPI, recorded nowhere."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Wanted(BaseModel):
    """What is asked for."""

    number: int
    more: int = 1


class Invocation(BaseModel):
    """As a deployment takes it."""

    parameters: Wanted


@app.get("/health")
def health() -> dict[str, str]:
    """Say that it serves."""
    return {"status": "ok"}


@app.post("/invoke")
def invoke(wanted: Invocation) -> dict[str, dict[str, int]]:
    """Do the work."""
    return {"outputs": {"output": wanted.parameters.number**2 + wanted.parameters.more}}

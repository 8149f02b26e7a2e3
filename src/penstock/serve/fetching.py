"""What a service finds on its machine: its plan, and the code of its snapshot."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import msgspec

from penstock.client.transport import Transport
from penstock.errors import SourceNotFound
from penstock.model.deployment import Plan
from penstock.runtime import workplace


def code_of(plan: Plan) -> Path:
    """The unpacked code archive, fetched from the server if this machine does not have it.

    Raises `SourceNotFound` for a snapshot without code, `ServerUnreachable` if it is not here and cannot be got.
    """
    content = plan.snapshot.content
    digest = content.code
    if digest is None:
        raise SourceNotFound(f"This snapshot has no archived code. {content.code_note or ''}".strip())

    def fetch() -> bytes:
        with closing(Transport(plan.server, plan.token or None)) as transport:
            return transport.request("GET", f"/code/{digest}").body

    return workplace.code_directory(digest, home=plan.home, fetch=fetch).resolve()


def written(plan: Plan, path: Path) -> None:
    """Write a plan where only its owner can read it: it holds credentials."""
    draft = path.with_name(f"{path.name}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(plan))
    draft.replace(path)

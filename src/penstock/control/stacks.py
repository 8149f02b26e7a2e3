"""Stacks: what a run uses. Every installation has `default`: local processes and files in its home."""

from __future__ import annotations

from penstock.control.installation import Installation, now
from penstock.ids import new_id
from penstock.model.stack import Component, Stack
from penstock.store import stacks
from penstock.store.session import WriteSession

DEFAULT = "default"


def shared_secrets(installation: Installation) -> Component:
    """Where secrets are if the stack does not say it: with what all servers share."""
    return Component(flavor="file", options={"path": str(installation.settings.shared_directory / "secrets")})


def ensure_default(ws: WriteSession, installation: Installation) -> None:
    """See to it that there is the stack `default`; one that is there stays as it is."""
    shared = installation.settings.shared_directory
    components = {
        "orchestrator": Component(flavor="local"),
        "artifact_store": Component(flavor="file", options={"path": str(shared / "artifacts")}),
    }
    stacks.ensure(ws, Stack(id=new_id(), name=DEFAULT, components=components, created=now()))

from __future__ import annotations

from typing import Any

import pytest

from penstock.client.client import Client
from penstock.client.deployments import _new_lines
from penstock.errors import Conflict, Unavailable


def told(state: str = "running", **fields: Any) -> dict[str, Any]:
    return {
        "id": "d1",
        "name": "served",
        "pipeline_id": "p1",
        "pipeline_name": "train",
        "snapshot_id": "s1",
        "state": state,
        "created": "2025-01-01T00:00:00Z",
        "updated": "2025-01-01T00:00:00Z",
        **fields,
    }


def test_what_is_not_said_is_left_to_the_server(client: Client, transport: Any) -> None:
    transport.script = [{"deployment": told(), "key": "k"}]
    made = client.deployments.create("served", pipeline="train", update=True)
    assert (made.key, transport.last.json) == ("k", {"name": "served", "pipeline": "train", "update": True})


def test_it_waits_until_it_is_as_it_is_wanted(client: Client, transport: Any, pauses: list[float]) -> None:
    transport.script = [told("pending"), told("pending"), told("running", url="http://a")]
    assert client.deployments.provision("served").url == "http://a"
    assert [one.method for one in transport.asked] == ["POST", "GET", "GET"]
    transport.script = [told("error", reason="no model")]
    with pytest.raises(Conflict, match="no model"):
        client.deployments.wait("served")
    transport.script = [told("pending")]
    with pytest.raises(TimeoutError, match="still pending after 3 s"):
        client.deployments.wait("served", timeout=3)
    assert sum(pauses) == pytest.approx(3.1, abs=0.2)


def test_manifests_are_objects(client: Client, transport: Any) -> None:
    transport.script = [{"manifests": [{"kind": "Service"}]}]
    assert client.deployments.manifests("served") == ({"kind": "Service"},)
    assert transport.last.path.endswith("/deployments/served/manifests")


def test_what_has_no_address_cannot_be_asked(client: Client, transport: Any) -> None:
    transport.script = [told("absent")]
    deployments = client.deployments
    for ask in (deployments.invoke, deployments.submit):
        with pytest.raises(Unavailable, match="absent"):
            ask("served", {"depth": 1})
    with pytest.raises(Unavailable):
        deployments.cancel_submission("served", "r1")


@pytest.mark.parametrize(
    ("seen", "now", "new"),
    [
        (("a", "b"), ("a", "b", "c"), ("c",)),
        (("a", "b"), ("b", "c", "d"), ("c", "d")),
        (("a",), ("a",), ()),
        (("a",), ("x", "y"), ("x", "y")),
        ((), ("x",), ("x",)),
    ],
)
def test_lines_are_told_once(seen: tuple[str, ...], now: tuple[str, ...], new: tuple[str, ...]) -> None:
    assert _new_lines(seen, now) == new

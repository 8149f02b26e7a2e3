"""The containers of a deployment as the engine is told of them, and what is refused because it could not work in one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.errors import InvalidInput
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.deployment import Plan
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.secret import SCHEMA
from penstock.model.snapshot import Content, Environment, Snapshot
from penstock.model.stack import Component
from penstock.model.trial import Seat
from penstock.stack.flavors import docker_containers as containers
from penstock.stack.flavors.docker_containers import CONTENT, Options, check_address, lodged, ports, service
from penstock.stack.flavors.docker_deployer import DockerDeployer

PLAIN = Options()


def content(schema: Mapping[str, Any] | None = None, **said: Any) -> Content:
    return Content(
        pipeline="p",
        source="p:p",
        code="ab" * 32,
        environment=Environment(python="3.11.2"),
        parameter_schema={"type": "object", "properties": dict(schema or {})},
        configuration=PipelineRunConfiguration(**said),
    )


def plan(of: Content | None = None, **changes: Any) -> Plan:
    snapshot = Snapshot(id="s", pipeline_id="p", content=of or content(), created=datetime(2026, 1, 1, tzinfo=UTC))
    made = Plan(
        deployment_id="d1",
        deployment_name="served",
        snapshot=snapshot,
        home="/home/me/.penstock",
        server="unix:/home/me/.penstock/services/server.sock",
        token="hush-hush",
    )
    return replace(made, **changes)


def refused(given: Plan, options: Options = PLAIN, *, local: bool = True) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        lodged(given, options, local=local)
    return [one["pointer"] for one in caught.value.errors]


def test_a_container_is_confined_and_told_no_secret() -> None:
    lodging = lodged(plan(), PLAIN, local=True)
    made = service(
        lodging, "image:1", Options(memory="512m", cpus=1.5, network="mine", labels={"team": "a"}), rotating=True
    )
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges"]
    assert made["restart_policy"] == {"Name": "unless-stopped"}
    assert made["log_config"]["Config"] == {"max-size": "10m", "max-file": "2"}
    assert (made["mem_limit"], made["nano_cpus"], made["network"]) == ("512m", 1_500_000_000, "mine")
    assert made["labels"].items() >= {"team": "a", "penstock.deployment": "d1", "penstock.role": "service"}.items()
    assert [(one["Type"], one["Source"], one["Target"], one["ReadOnly"]) for one in made["mounts"]] == [
        ("volume", "penstock-d1", "/var/lib/penstock/state", False),
        ("bind", "/home/me/.penstock/services", "/run/penstock/server", True),
    ]
    assert not made["user"].startswith("0")
    assert b"hush-hush" not in msgspec.json.encode(made)
    gate = containers.gate(lodging, "image:1", PLAIN, rotating=False)
    assert gate["read_only"]
    assert "log_config" not in gate
    assert b"hush-hush" not in msgspec.json.encode(gate)


def test_what_is_the_same_is_known_by_its_label() -> None:
    def label(given: Plan, image: str = "image:1", options: Options = PLAIN) -> str:
        found: str = service(lodged(given, options, local=True), image, options, rotating=False)["labels"][CONTENT]
        return found

    first = label(plan())
    assert label(plan(token="another")) == first
    others = [
        label(plan(), "image:2"),
        label(plan(revision=2)),
        label(plan(auth=True)),
        label(plan(), options=Options(memory="1g")),
        label(plan(settings=DeploymentSettings(timeout=5))),
    ]
    assert len({first, *others}) == 6


def test_the_plan_says_where_things_are_in_there() -> None:
    made = lodged(plan(host="127.0.0.1", port=8123, archive="/a.tar"), PLAIN, local=True).plan
    assert (made.home, made.host, made.port, made.archive) == ("/var/lib/penstock", "0.0.0.0", 8000, "")
    assert made.server == "unix:/run/penstock/server/server.sock"


def test_the_server_is_come_by_in_one_way_or_the_plan_is_refused() -> None:
    far = Options(server_url="http://penstock.example:8237")
    assert lodged(plan(), far, local=False).plan.server == "http://penstock.example:8237"
    assert refused(plan(), local=False) == ["/deployer/options/server_url"]
    assert lodged(plan(server=""), PLAIN, local=False).plan.server == ""
    near = Options(server_url="http://host.docker.internal:8237")
    lodging = lodged(plan(), near, local=True)
    assert lodging.mounts == ()
    assert service(lodging, "i", near, rotating=False)["extra_hosts"] == {"host.docker.internal": "host-gateway"}


def files(folder: Path, name: str) -> Component:
    return Component(flavor="file", options={"path": str(folder / name)})


def test_artifacts_of_this_machine_are_shown_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = plan(artifact_store=files(tmp_path, "artifacts"))
    lodging = lodged(given, PLAIN, local=True)
    assert (str(tmp_path / "artifacts"), "/var/lib/penstock/artifacts", True) in lodging.mounts
    assert lodging.plan.artifact_store == Component(flavor="file", options={"path": "/var/lib/penstock/artifacts"})
    keeping = replace(given, settings=DeploymentSettings(keep_artifacts=True))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert refused(keeping) == ["/settings/keep_artifacts"]
    assert refused(replace(keeping, server=""), local=False) == ["/settings/keep_artifacts"]
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setattr(os, "getgid", lambda: 56)
    lodging = lodged(keeping, PLAIN, local=True)
    assert (str(tmp_path / "artifacts"), "/var/lib/penstock/artifacts", False) in lodging.mounts
    assert (lodging.user, lodging.owner) == ("1234:56", (1234, 56))
    far = Component(flavor="object", options={"url": "s3://b"})
    assert lodged(replace(keeping, artifact_store=far), PLAIN, local=True).plan.artifact_store == far


@pytest.mark.parametrize(
    "using",
    [
        content(secrets=("db",)),
        content({"password": dict(SCHEMA)}),
        content(environment={"URL": "https://{{db.host}}/"}),
    ],
)
def test_secrets_of_this_machine_are_shown_to_who_uses_them_or_refused(
    using: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = plan(using, secret_store=files(tmp_path, "secrets"))
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    assert refused(given) == ["/snapshot"]  # there is none yet
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets.key").write_text("k")
    lodging = lodged(given, PLAIN, local=True)
    assert (str(tmp_path / "secrets"), "/var/lib/penstock/secrets", True) in lodging.mounts
    assert (str(tmp_path / "secrets.key"), "/var/lib/penstock/secrets.key", True) in lodging.mounts
    assert not [
        one for one in lodged(replace(given, snapshot=plan().snapshot), PLAIN, local=True).mounts if "secret" in one[0]
    ]
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert refused(given) == ["/deployer/options/user"]
    assert refused(replace(given, server=""), local=False) == ["/deployer/options/user"]
    assert lodged(given, Options(user="0:0"), local=True).user == "0:0"
    lodged(given, Options(environment={"PENSTOCK_SECRET_DB__HOST": "h"}), local=True)


def test_nobody_else_is_let_in_without_a_key() -> None:
    assert check_address(plan(), PLAIN, local=True) == "127.0.0.1"
    assert check_address(plan(host="0.0.0.0", auth=True), PLAIN, local=True) == "0.0.0.0"
    with pytest.raises(InvalidInput, match="make it a key"):
        check_address(plan(), Options(address="0.0.0.0"), local=True)
    with pytest.raises(InvalidInput, match="nobody here could call it"):
        check_address(plan(), PLAIN, local=False)


def test_ports_are_tried_in_their_order() -> None:
    assert ports(plan(port=8123), PLAIN)[:3] == [8123, 8124, 8125]
    assert ports(plan(port=80), Options(port_range=(9000, 9002))) == [80, 9000, 9001, 9002]
    assert ports(plan(port=80), Options(port=9001, allocate_port_if_busy=False)) == [9001]


def test_a_companion_is_published_for_this_machine_only_at_any_port() -> None:
    companion = plan(port=80, auth=True, seat=Seat(deployment_id="d0", deployment_name="asked", kind="canary"))
    said = Options(address="0.0.0.0", port=9001, allocate_port_if_busy=False, port_range=(9000, 9002), network="mine")
    assert check_address(companion, said, local=True) == "127.0.0.1"
    assert ports(companion, said) == [80, 9000, 9001, 9002]
    gate = containers.gate(lodged(companion, said, local=True), "image", said, rotating=False)
    assert gate["network"] == "mine"  # where the service that asks it is


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"memroy": "512m"}, "/deployer/options/memroy"),
        ({"memory": "much"}, "/deployer/options/memory"),
        ({"cpus": 0}, "/deployer/options/cpus"),
        ({"cpus": "two"}, "/deployer/options/cpus"),
        ({"user": "me"}, "/deployer/options/user"),
        ({"port_range": [9, 8]}, "/deployer/options/port_range"),
        ({"port": 70000}, "/deployer/options/port"),
        ({"server_url": "unix:/x"}, "/deployer/options/server_url"),
        ({"labels": {"penstock.role": "x"}}, "/deployer/options/labels"),
        ({"volumes": ["data"]}, "/deployer/options/volumes"),
        ({"base_image": "a b"}, "/options/base_image"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_their_place(options: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        DockerDeployer(**options)
    assert [one["pointer"] for one in caught.value.errors] == [pointer]

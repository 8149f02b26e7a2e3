"""A deployment: a snapshot kept warm behind HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.run import Event
from penstock.model.snapshot import Snapshot
from penstock.model.stack import Component
from penstock.model.trial import Seat


class DeploymentState(StrEnum):
    """How it stands with a deployment."""

    PENDING = "pending"
    """It is coming up, or a new revision of it is."""

    RUNNING = "running"
    ERROR = "error"
    """It does not come up; what served before, if anything, still does."""

    ABSENT = "absent"
    """Nothing runs: it was taken down, and its record stays."""

    UNKNOWN = "unknown"
    """Its deployer cannot say."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What a deployment served, or serves, under a number."""

    number: int
    snapshot_id: str
    settings: DeploymentSettings = field(default_factory=DeploymentSettings)
    created: datetime
    note: str | None = None
    """Why it was made, where it was not simply asked for: a roll-back."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The record of a deployment."""

    id: str
    name: str
    pipeline_id: str
    pipeline_name: str
    snapshot_id: str
    revision: int = 1
    wanted: Literal["running", "absent", "deleted"] = "running"
    state: DeploymentState = DeploymentState.PENDING
    reason: str | None = None
    """Why it is in this state, where that is not plain."""

    url: str | None = None
    inner_url: str | None = None
    """Where other services of its deployer reach it, if that is elsewhere."""

    deployer: Component = field(default_factory=lambda: Component(flavor="local"))
    settings: DeploymentSettings = field(default_factory=DeploymentSettings)
    auth: bool = False
    """Whether callers need a key."""

    tags: tuple[str, ...] = ()
    companion_of: str | None = None
    """Of one that serves the candidate of a trial: the deployment that is asked."""

    created: datetime
    updated: datetime


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How it stands with a deployment, as its deployer sees it."""

    state: DeploymentState
    url: str | None = None
    inner_url: str | None = None
    """Where services that this deployer keeps up reach it, if not at the `url`: in a network of their own."""

    reason: str | None = None
    revision: int | None = None
    """Which one is up, or coming up."""

    held: bool = True
    """Whether what was applied last is kept where the service is. If not, only the deployer's own process knows of it: if
    that ends, it must be applied again."""


@dataclass(frozen=True, kw_only=True)
class DeploymentKey:
    """The record of a key that callers of a deployment may show. Its text was shown once."""

    id: str
    deployment_id: str
    name: str
    created: datetime
    valid_until: datetime | None = None
    """When a key that was rotated out stops working; None for one in force."""


@dataclass(frozen=True, kw_only=True)
class NewDeploymentKey:
    """A key just made: its record, and the only sight of its text."""

    key: str
    record: DeploymentKey


@dataclass(frozen=True, kw_only=True)
class NewDeployment:
    """A deployment that was made or changed, and the only sight of the text of the key that was made with it."""

    deployment: Deployment
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeploymentLogs:
    """The last lines that a deployment has printed."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DeploymentManifests:
    """The objects that a deployment consists of, where it is in a cluster; a placeholder stands for what nobody may see."""

    manifests: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class KeyDigest:
    """One key that a service lets in: the hash of its text, and until when it holds."""

    name: str
    digest: str
    """SHA-256 of the whole text."""

    valid_until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Admission:
    """The answer to a caller who may ask a deployment."""

    account: str
    deployment_id: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a service needs to serve one revision of a deployment."""

    deployment_id: str
    deployment_name: str
    revision: int = 1
    snapshot: Snapshot
    settings: DeploymentSettings = field(default_factory=DeploymentSettings)
    keys: tuple[KeyDigest, ...] = ()
    """Who may call."""

    auth: bool = False
    """Whether callers need one of the keys, or an account."""

    host: str = "127.0.0.1"
    port: int = 0
    seat: Seat | None = None
    """Of a companion: for whom it answers. Nobody else calls it, so it need not be reachable from further away than that."""

    home: str
    """Directory for code and files of the machine of the service."""

    server: str = ""
    """Where requests are told: `unix:/path` or `http(s)://host:port`. Empty: nowhere."""

    token: str = ""
    """Credentials of this deployment alone."""

    artifact_store: Component | None = None
    secret_store: Component | None = None
    grace: float = 5.0
    parallel_steps: int = 8
    image_builder: Component | None = None
    container_registry: Component | None = None
    archive: str = ""
    """Where the code archive lies on the machine of the server, for whoever makes an image of it."""


@dataclass(frozen=True, kw_only=True)
class ServedRun:
    """One request, carried out: what the record of its run is made of."""

    id: str
    name: str
    snapshot_id: str
    parameters: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    mirror_of: str | None = None
    """Of a copy: the run of the request that it is a copy of."""

    created: datetime
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServedRuns:
    """What a service tells of its requests in one go."""

    runs: tuple[ServedRun, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TakenIn:
    """The answer to it: how many were new. The others were known already."""

    new: int
    known: int = 0

"""The rows of deployments, of their revisions, and of the keys of their callers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, func, or_, select, update
from sqlalchemy import insert as into

from penstock.errors import found
from penstock.ids import is_id
from penstock.model.deployment import Deployment, DeploymentKey, DeploymentState, KeyDigest, Revision, Standing
from penstock.store.deployment_tables import deployment_keys, deployment_revisions, deployments
from penstock.store.paging import Slice, Window, cut
from penstock.store.pipelines import id_of
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession

_DEPLOYMENT = Record(Deployment, deployments)
_KEY = Record(DeploymentKey, deployment_keys)
_REVISION = Record(Revision, deployment_revisions)
_INSERT = into(deployments)
_INSERT_REVISION = into(deployment_revisions)
_INSERT_KEY = into(deployment_keys)
_ALL = select(*_DEPLOYMENT.columns)
_BY_ID = _ALL.where(deployments.c.id == bindparam("ref"))
_BY_NAME = _ALL.where(deployments.c.name == bindparam("ref"))
_NAME = select(deployments.c.name).where(deployments.c.id == bindparam("ref"))
_LISTED = _ALL.where(deployments.c.companion_of.is_(None))
_UPDATE = update(deployments).where(deployments.c.id == bindparam("ref"))
_SEE = _UPDATE.where(
    or_(
        deployments.c.state != bindparam("now"),
        deployments.c.reason.is_distinct_from(bindparam("why", type_=deployments.c.reason.type)),
        deployments.c.url.is_distinct_from(bindparam("where")),
        deployments.c.inner_url.is_distinct_from(bindparam("within")),
    )
)
_DELETE = delete(deployments).where(deployments.c.id == bindparam("ref"))
_TENDED = select(*_DEPLOYMENT.columns, deployments.c.applied).order_by(deployments.c.id).limit(bindparam("limit"))
_LAST = select(func.max(deployment_revisions.c.number)).where(deployment_revisions.c.deployment_id == bindparam("id"))
_REVISIONS = select(*_REVISION.columns).where(deployment_revisions.c.deployment_id == bindparam("id"))
_NEWEST_REVISIONS = _REVISIONS.order_by(deployment_revisions.c.number.desc()).limit(bindparam("limit"))
_ONE_REVISION = _REVISIONS.where(deployment_revisions.c.number == bindparam("number"))
_HAS_SERVED = _REVISIONS.where(deployment_revisions.c.snapshot_id == bindparam("snapshot")).limit(1)
_OF = deployment_keys.c.deployment_id == bindparam("of")
_NAMED = deployment_keys.c.name == bindparam("called")
_KEYS = select(*_KEY.columns, deployment_keys.c.digest).where(_OF).order_by(deployment_keys.c.id)
_RETIRE = update(deployment_keys).where(_OF, _NAMED, deployment_keys.c.valid_until.is_(None))
_REVOKE = delete(deployment_keys).where(_OF, _NAMED)
_DROP_RETIRED = delete(deployment_keys).where(_OF, deployment_keys.c.valid_until <= bindparam("now"))


def insert(ws: WriteSession, deployment: Deployment) -> None:
    """Keep a new deployment. Raises `Conflict` if its name is used."""
    row = _DEPLOYMENT.row(deployment) | {"applied": None}
    ws.change(_INSERT, row, taken=f"There is already a deployment named '{deployment.name}'.")


def get(rs: ReadSession, ref: str) -> Deployment:
    """The deployment with this id or name. Raises `NotFound`. In a write session nobody else changes it until the end."""
    statement = rs.held(_BY_ID if is_id(ref) else _BY_NAME, deployments)
    return _DEPLOYMENT.made(found(rs.row(statement, {"ref": ref}), "deployment", ref))


def name_of(rs: ReadSession, deployment_id: str) -> str:
    """The name of a deployment, which nobody holds for that. Raises `NotFound`."""
    return str(found(rs.row(_NAME, {"ref": deployment_id}), "deployment", deployment_id).name)


def find(rs: ReadSession, name: str) -> Deployment | None:
    """The deployment with this name, if there is one."""
    row = rs.row(rs.held(_BY_NAME, deployments), {"ref": name})
    return None if row is None else _DEPLOYMENT.made(row)


def save(ws: WriteSession, deployment: Deployment) -> None:
    """Write a deployment as it is now."""
    values = _DEPLOYMENT.row(deployment)
    ws.change(_UPDATE, {name: value for name, value in values.items() if name != "id"} | {"ref": deployment.id})


def applied(ws: WriteSession, deployment_id: str, at: datetime) -> None:
    """Its deployer has been told of the change of this time."""
    ws.change(_UPDATE, {"ref": deployment_id, "applied": at})


def see(ws: WriteSession, deployment_id: str, standing: Standing) -> bool:
    """Write how it stands; whether that is news."""
    news = {"state": standing.state, "reason": standing.reason, "url": standing.url, "inner_url": standing.inner_url}
    seen = {"now": standing.state, "why": standing.reason, "where": standing.url, "within": standing.inner_url}
    return ws.change(_SEE, news | seen | {"ref": deployment_id}) == 1


def remove(ws: WriteSession, deployment_id: str) -> None:
    """Remove a deployment with its revisions and keys; the runs that it served stay."""
    ws.change(_DELETE, {"ref": deployment_id})


def tended(rs: ReadSession, limit: int = 1000) -> list[tuple[Deployment, datetime | None]]:
    """All deployments, each with the change of which its deployer knows."""
    rows = rs.rows(_TENDED, {"limit": limit})
    return [(_DEPLOYMENT.made(row), row.applied) for row in rows]


def page(
    rs: ReadSession,
    window: Window,
    *,
    name: str | None = None,
    pipeline: str | None = None,
    state: DeploymentState | None = None,
) -> Slice[Deployment]:
    """Deployments, newest first; companions are seen with their trials."""
    statement = _LISTED
    if name is not None:
        statement = statement.where(deployments.c.name == name)
    if pipeline is not None:
        statement = statement.where(deployments.c.pipeline_id == id_of(pipeline))
    if state is not None:
        statement = statement.where(deployments.c.state == state)
    return cut(rs, statement, deployments.c.id, window, _DEPLOYMENT.made)


def add_revision(ws: WriteSession, deployment_id: str, revision: Revision) -> None:
    """Keep what it serves from now on under a number."""
    ws.change(_INSERT_REVISION, _REVISION.row(revision) | {"deployment_id": deployment_id})


def last_revision(rs: ReadSession, deployment_id: str) -> int:
    """The highest number; 0 if there is none. The caller holds the deployment."""
    return int(rs.value(_LAST, {"id": deployment_id}) or 0)


def revisions(rs: ReadSession, deployment_id: str, limit: int = 100) -> list[Revision]:
    """What it has served, newest first."""
    return [_REVISION.made(row) for row in rs.rows(_NEWEST_REVISIONS, {"id": deployment_id, "limit": limit})]


def revision(rs: ReadSession, deployment_id: str, number: int) -> Revision:
    """What it served under this number. Raises `NotFound`."""
    row = rs.row(_ONE_REVISION, {"id": deployment_id, "number": number})
    return _REVISION.made(found(row, "revision of this deployment", str(number)))


def has_served(rs: ReadSession, deployment_id: str, snapshot_id: str) -> bool:
    """Whether the snapshot was one of its revisions."""
    return rs.row(_HAS_SERVED, {"id": deployment_id, "snapshot": snapshot_id}) is not None


def insert_key(ws: WriteSession, key: DeploymentKey, digest: str) -> None:
    """Keep a new key. Raises `Conflict` if one of its name is in force."""
    row = _KEY.row(key) | {"digest": digest}
    ws.change(_INSERT_KEY, row, taken=f"This deployment has already a key named '{key.name}'.")


def retire_key(ws: WriteSession, deployment_id: str, name: str, until: datetime) -> bool:
    """Have the key of this name work `until` then, and no longer; whether there is one in force."""
    return ws.change(_RETIRE, {"of": deployment_id, "called": name, "valid_until": until}) == 1


def revoke_key(ws: WriteSession, deployment_id: str, name: str) -> bool:
    """Put all keys of this name out of force; whether there was one."""
    return ws.change(_REVOKE, {"of": deployment_id, "called": name}) > 0


def drop_retired_keys(ws: WriteSession, deployment_id: str, now: datetime) -> None:
    """Forget the keys that have stopped working."""
    ws.change(_DROP_RETIRED, {"of": deployment_id, "now": now})


def keys(rs: ReadSession, deployment_id: str) -> list[DeploymentKey]:
    """The keys of a deployment, oldest first."""
    return [_KEY.made(row) for row in rs.rows(_KEYS, {"of": deployment_id})]


def digests(rs: ReadSession, deployment_id: str) -> tuple[KeyDigest, ...]:
    """The same as its service needs them."""
    rows = rs.rows(_KEYS, {"of": deployment_id})
    return tuple(KeyDigest(name=row.name, digest=row.digest, valid_until=row.valid_until) for row in rows)

"""The rows of devices that ask for access."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy import insert as into

from penstock.model.device import Device
from penstock.store.account_tables import devices
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession

_DEVICE = Record(Device, devices)
_INSERT = into(devices)
_DEVICES = select(*_DEVICE.columns)
_BY_DIGEST = _DEVICES.where(devices.c.digest == bindparam("ref"))
_BY_CODE = _DEVICES.where(devices.c.user_code == bindparam("ref"))
_COUNT = select(func.count()).select_from(devices)
_SAVE = update(devices).where(devices.c.digest == bindparam("ref"))
_REMOVE = delete(devices).where(devices.c.digest == bindparam("ref"))
_PURGE = delete(devices).where(devices.c.expires <= bindparam("now"))


def insert(ws: WriteSession, device: Device) -> None:
    """Keep a device that asks."""
    ws.change(_INSERT, _DEVICE.row(device))


def find(rs: ReadSession, digest: str) -> Device | None:
    """The device that polls with a code of this hash, held until the end of a write session."""
    row = rs.row(rs.held(_BY_DIGEST, devices), {"ref": digest})
    return None if row is None else _DEVICE.made(row)


def by_code(rs: ReadSession, user_code: str) -> Device | None:
    """The device that shows this code."""
    row = rs.row(rs.held(_BY_CODE, devices), {"ref": user_code})
    return None if row is None else _DEVICE.made(row)


def count(rs: ReadSession) -> int:
    """How many devices are asking."""
    return int(rs.value(_COUNT))


def save(ws: WriteSession, device: Device) -> None:
    """Write where it stands."""
    values = {name: getattr(device, name) for name in ("polled", "interval", "state", "account_id")}
    ws.change(_SAVE, {"ref": device.digest, **values})


def remove(ws: WriteSession, digest: str) -> None:
    """It has its answer."""
    ws.change(_REMOVE, {"ref": digest})


def purge(ws: WriteSession, now: datetime) -> int:
    """Forget those whose time is over."""
    return ws.change(_PURGE, {"now": now})

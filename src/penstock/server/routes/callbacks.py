"""Callbacks over HTTP: who is told of the ends of runs, how far that has come, and the secret that receivers need."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from fastapi import Query, Response
from pydantic import Field

from penstock.control import callbacks
from penstock.model.callback import Callback, CallbackSecret, CallbackState, shown
from penstock.server.access import CallbackReader, CallbackRunner, Here, ListReader, Manager
from penstock.server.bodies import ListQuery, Page, Strict, answer, listing
from penstock.server.noun import Noun
from penstock.store import callbacks as stored
from penstock.store.paging import Slice

router = Noun("/callbacks", "callbacks")

_UNSEEN = {"Cache-Control": "no-store"}


class CallbackQuery(ListQuery):
    """Filters of the list."""

    run_id: str | None = None
    state: CallbackState | None = None


class RotateSecret(Strict):
    """For how long the secret before signs as well."""

    retain_minutes: float = Field(default=24 * 60.0, ge=0, le=90 * 24 * 60.0)


@router.get("", response_model=Page[Callback])
def list_callbacks(here: Here, who: ListReader, query: Annotated[CallbackQuery, Query()]) -> Response:
    """Who is told of the ends of runs, newest first. What was given up has the state `dead`."""
    with here.db.read() as session:
        return callback_page(stored.page(session, query.window, **query.filters(), within=who.within), query)


@router.get("/secret", response_model=CallbackSecret)
def get_callback_secret(here: Here, _: Manager) -> Response:
    """The secret with which receivers check that a callback comes from here."""
    with here.db.read() as session:
        return answer(callbacks.secret(session, here), headers=_UNSEEN)


@router.post("/secret/rotate", response_model=CallbackSecret)
def rotate_callback_secret(here: Here, _: Manager, wanted: RotateSecret | None = None) -> Response:
    """Make another secret. Until the time is up callbacks carry a signature with each of the two."""
    retain = timedelta(minutes=(wanted or RotateSecret()).retain_minutes)
    with here.db.write() as session:
        return answer(callbacks.rotate(session, here, retain=retain), headers=_UNSEEN)


@router.get("/{callback_id}", response_model=Callback)
def get_callback(here: Here, _: CallbackReader, callback_id: str) -> Response:
    """One callback: tries, the last status, the next try."""
    with here.db.read() as session:
        return answer(shown(stored.get(session, callback_id)))


@router.post("/{callback_id}/redeliver", response_model=Callback, status_code=202)
def redeliver_callback(here: Here, _: CallbackRunner, callback_id: str) -> Response:
    """Send it again now, under the same `webhook-id`."""
    with here.db.write() as session:
        return answer(shown(callbacks.redeliver(session, here, callback_id)), 202)


def callback_page(found: Slice[Callback], query: ListQuery) -> Response:
    """A part of the list as it is shown."""
    return listing(replace(found, items=tuple(map(shown, found.items))), query)

"""The words of names, and what is found by them.

Templates and pipelines are few: their names are looked through. Runs are many, and most have a name that begins with their
pipeline's: they are found through their pipeline and template, and only names that somebody chose are taken apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, func, select, union

from penstock.model.run import Run
from penstock.model.words import words_of
from penstock.store.paging import COUNTED, LARGEST, Window
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import pipelines, run_words, runs, templates
from penstock.store.upsert import insert_new

_MOST = 50
"""Pipelines, and templates, whose runs are found by the same words."""

_INSERT = insert_new(run_words)


def note(ws: WriteSession, run: Run) -> None:
    """Have a run found by the words of the name that somebody chose for it."""
    if not run.name.endswith(run.id[-8:]):  # as the names do that are made up
        ws.change(_INSERT, [{"word": word, "run_id": run.id} for word in words_of(run.name)])


def named(column: Column[str], words: Sequence[str]) -> ColumnElement[bool]:
    """That all of these stand in the name; as a part of a word, too."""
    return and_(*(func.lower(column).contains(word, autoescape=True) for word in words))


def found(rs: ReadSession, fitting: Select[Any], words: Sequence[str], window: Window) -> Select[Any]:
    """Of the runs that `fitting` selects, those with all of these words in their name, or that of their template or pipeline.

    As many as are counted or fit on a page, from where the window begins: each way of being found has an index in the
    order of the list, so that nothing is sorted but what was found by several.
    """
    ids = fitting.with_only_columns(runs.c.id)
    by_template = rs.rows(select(templates.c.id).where(named(templates.c.name, words)).limit(_MOST))
    by_pipeline = rs.rows(select(pipelines.c.id).where(named(pipelines.c.name, words)).limit(_MOST))
    ways = [_by_name(ids, words, window)]
    ways += [_first(ids.where(runs.c.template_id == row.id), runs.c.id, window) for row in by_template]
    ways += [_first(ids.where(runs.c.pipeline_id == row.id), runs.c.id, window) for row in by_pipeline]
    all_ids = union(*(select(way.subquery().c.id) for way in ways)).subquery("found")
    return fitting.where(runs.c.id.in_(select(all_ids.c.id)))


def _by_name(ids: Select[Any], words: Sequence[str], window: Window) -> Select[Any]:
    first, *others = words
    statement = ids.join(run_words, run_words.c.run_id == runs.c.id).where(run_words.c.word == first)
    for word in others:
        more = run_words.alias()
        statement = statement.where(
            select(more.c.run_id).where(more.c.word == word, more.c.run_id == run_words.c.run_id).exists()
        )
    return _first(statement, run_words.c.run_id, window)


def _first(statement: Select[Any], key: Column[str], window: Window) -> Select[Any]:
    if window.after is not None:
        statement = statement.where(key > window.after if window.oldest_first else key < window.after)
    return statement.order_by(key if window.oldest_first else key.desc()).limit(max(COUNTED, LARGEST) + 1)

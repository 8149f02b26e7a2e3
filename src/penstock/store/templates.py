"""The rows of run templates, their tags and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, select, update
from sqlalchemy import insert as into

from penstock.errors import found
from penstock.ids import is_id
from penstock.model.template import AliasMove, Template, TemplateVersion
from penstock.model.terms import Terms
from penstock.store.paging import Slice, Window, cut
from penstock.store.pipelines import id_of
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import (
    pipelines,
    template_alias_moves,
    template_aliases,
    template_tags,
    template_versions,
    templates,
)
from penstock.store.upsert import upsert
from penstock.store.words import named

_FIELDS = ("id", "name", "description", "tags", "pipeline_id", "created", "terms", "revision")
_ALL = select(*(templates.c[field] for field in _FIELDS), pipelines.c.name.label("pipeline_name")).join(
    pipelines, pipelines.c.id == templates.c.pipeline_id
)
_BY_ID = _ALL.where(templates.c.id == bindparam("ref"))
_BY_NAME = _ALL.where(templates.c.name == bindparam("ref"))
_NAMES = select(templates.c.name).order_by(templates.c.id.desc()).limit(bindparam("limit"))
_NAMES_OF = select(templates.c.name).where(templates.c.pipeline_id == bindparam("pipeline"))
_VERSIONS = (
    select(template_versions)
    .where(template_versions.c.template_id.in_(bindparam("ids", expanding=True)))
    .order_by(template_versions.c.template_id, template_versions.c.version)
)
_ALIASES = select(template_aliases).where(template_aliases.c.template_id.in_(bindparam("ids", expanding=True)))
_HOLD = select(templates.c.id).where(templates.c.id == bindparam("id"))
_LAST = select(func.max(template_versions.c.version)).where(template_versions.c.template_id == bindparam("id"))
_INSERT = into(templates)
_INSERT_VERSION = into(template_versions)
_INSERT_TAG = into(template_tags)
_UPDATE = update(templates).where(templates.c.id == bindparam("ref"))
_DROP_TAGS = delete(template_tags).where(template_tags.c.template_id == bindparam("id"))
_SET_TERMS = update(templates).where(templates.c.id == bindparam("ref"), templates.c.revision == bindparam("seen"))
_SET_ALIAS = upsert(
    template_aliases, [template_aliases.c.template_id, template_aliases.c.alias], [template_aliases.c.version]
)
_DROP_ALIAS = delete(template_aliases).where(
    template_aliases.c.template_id == bindparam("id"), template_aliases.c.alias == bindparam("name")
)
_MOVES = select(template_alias_moves).where(
    template_alias_moves.c.template_id == bindparam("id"), template_alias_moves.c.alias == bindparam("name")
)
_NEWEST_MOVES = _MOVES.order_by(template_alias_moves.c.number.desc()).limit(bindparam("limit"))
_LAST_MOVE = select(func.max(template_alias_moves.c.number)).where(
    template_alias_moves.c.template_id == bindparam("id"), template_alias_moves.c.alias == bindparam("name")
)
_INSERT_MOVE = into(template_alias_moves)
_DELETE = delete(templates).where(templates.c.id == bindparam("id"))

TEMPLATES = "templates"
"""What is outdated by whatever changes what a template is, says or means."""


def insert(ws: WriteSession, template: Template) -> None:
    """Keep a new template with the versions that it has. Raises `Conflict` if its name is used."""
    ws.outdate(TEMPLATES)
    row = {field: getattr(template, field) for field in _FIELDS}
    ws.change(_INSERT, row, taken=f"There is already a run template named '{template.name}'.")
    ws.change(_INSERT_VERSION, [_version_row(template.id, version) for version in template.versions])
    _insert_tags(ws, template)


def publish(ws: WriteSession, template_id: str, snapshot_id: str, at: datetime) -> TemplateVersion:
    """Give the template its next version. Two that publish at once get two numbers. Raises `NotFound`."""
    ws.outdate(TEMPLATES)
    found(ws.row(ws.held(_HOLD, templates), {"id": template_id}), "run template", template_id)
    number = (ws.value(_LAST, {"id": template_id}) or 0) + 1
    version = TemplateVersion(version=number, snapshot_id=snapshot_id, created=at)
    ws.change(_INSERT_VERSION, _version_row(template_id, version))
    return version


def save(ws: WriteSession, template: Template) -> None:
    """Write the description and the tags of a template; nothing else of it changes."""
    ws.outdate(TEMPLATES)
    ws.change(_UPDATE, {"ref": template.id, "description": template.description, "tags": template.tags})
    ws.change(_DROP_TAGS, {"id": template.id})
    _insert_tags(ws, template)


def get(rs: ReadSession, ref: str) -> Template:
    """The template with this id or name, held until the end of a write session. Raises `NotFound`."""
    row = found(rs.row(rs.held(_BY_ID if is_id(ref) else _BY_NAME, templates), {"ref": ref}), "run template", ref)
    return _made(rs, [row])[0]


def set_terms(ws: WriteSession, template: Template, terms: Terms) -> bool:
    """Write the terms over those that `template` was read with; False, writing nothing, if they were changed since."""
    ws.outdate(TEMPLATES)
    changes = {"terms": terms, "revision": template.revision + 1}
    return ws.change(_SET_TERMS, {"ref": template.id, "seen": template.revision, **changes}) == 1


def move(ws: WriteSession, template_id: str, alias: str, version: int | None, by: AliasMove) -> AliasMove:
    """Have the alias mean this version, or nothing, and note it in its history under the next number.

    The template is held: two that move at once do so one after the other.
    """
    ws.outdate(TEMPLATES)
    found(ws.row(ws.held(_HOLD, templates), {"id": template_id}), "run template", template_id)
    if version is None:
        ws.change(_DROP_ALIAS, {"id": template_id, "name": alias})
    else:
        ws.change(_SET_ALIAS, {"template_id": template_id, "alias": alias, "version": version})
    number = (ws.value(_LAST_MOVE, {"id": template_id, "name": alias}) or 0) + 1
    made = replace(by, alias=alias, version=version, number=number)
    ws.change(_INSERT_MOVE, {"template_id": template_id, **asdict(made)})
    return made


def moves(rs: ReadSession, template_id: str, alias: str, limit: int = 100) -> list[AliasMove]:
    """The history of an alias, newest first."""
    rows = rs.rows(_NEWEST_MOVES, {"id": template_id, "name": alias, "limit": limit})
    return [AliasMove(**{one.name: getattr(row, one.name) for one in fields(AliasMove)}) for row in rows]


def remove(ws: WriteSession, template_id: str) -> bool:
    """Remove the template with its versions; whether it was there. Its runs stay."""
    ws.outdate(TEMPLATES)
    return ws.change(_DELETE, {"id": template_id}) == 1


def names(rs: ReadSession, limit: int = 10_000) -> list[str]:
    """The names of all templates, the newest first; of very many, only those."""
    return [row.name for row in rs.rows(_NAMES, {"limit": limit})]


def page(
    rs: ReadSession,
    window: Window,
    *,
    name: str | None = None,
    pipeline: str | None = None,
    tags: Sequence[str] = (),
    words: Sequence[str] = (),
    within: frozenset[str] | None = None,
) -> Slice[Template]:
    """Templates, newest first: with this name, of the pipeline with this id or name, with all these tags, and all these
    words in the name; `within` these names.
    """
    statement = _ALL
    if within is not None:
        statement = statement.where(templates.c.name.in_(sorted(within)))
    if name is not None:
        statement = statement.where(templates.c.name == name)
    if pipeline is not None:
        statement = statement.where(templates.c.pipeline_id == id_of(pipeline))
    for tag in tags:
        tagged = select(template_tags.c.template_id).where(template_tags.c.tag == tag)
        statement = statement.where(templates.c.id.in_(tagged))
    if words:
        statement = statement.where(named(templates.c.name, words))
    listed = cut(rs, statement, templates.c.id, window, lambda row: row)
    return Slice(items=tuple(_made(rs, listed.items)), total=listed.total, next=listed.next)


def _insert_tags(ws: WriteSession, template: Template) -> None:
    # A set: a tag that was given twice is one tag.
    ws.change(_INSERT_TAG, [{"tag": tag, "template_id": template.id} for tag in sorted(set(template.tags))])


def _version_row(template_id: str, version: TemplateVersion) -> dict[str, Any]:
    return {
        "template_id": template_id,
        "version": version.version,
        "snapshot_id": version.snapshot_id,
        "created": version.created,
    }


def _made(rs: ReadSession, rows: Iterable[Row[Any]]) -> list[Template]:
    rows = list(rows)
    versions: dict[str, list[TemplateVersion]] = {}
    for one in rs.rows(_VERSIONS, {"ids": [row.id for row in rows]}) if rows else ():
        version = TemplateVersion(version=one.version, snapshot_id=one.snapshot_id, created=one.created)
        versions.setdefault(one.template_id, []).append(version)
    aliases: dict[str, dict[str, int]] = {}
    for one in rs.rows(_ALIASES, {"ids": [row.id for row in rows]}) if rows else ():
        aliases.setdefault(one.template_id, {})[one.alias] = one.version
    return [
        Template(
            **{field: getattr(row, field) for field in _FIELDS},
            pipeline_name=row.pipeline_name,
            versions=tuple(versions.get(row.id, ())),
            aliases=dict(sorted(aliases.get(row.id, {}).items())),
        )
        for row in rows
    ]


def names_of(rs: ReadSession, pipeline_id: str) -> set[str]:
    """The names of all templates of a pipeline."""
    return {row.name for row in rs.rows(_NAMES_OF, {"pipeline": pipeline_id})}

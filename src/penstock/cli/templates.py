"""`penstock run-template`: publish, see, run and delete run templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.inputs import as_yaml, collect, described
from penstock.cli.options import (
    AddOption,
    CallbackUrlOption,
    ConfigOption,
    CursorOption,
    DescriptionOption,
    KeyOption,
    NameFilter,
    OutputOption,
    ParamOption,
    PipelineFilter,
    Reference,
    RemoveOption,
    RunNameOption,
    SizeOption,
    StepParamOption,
    TagFilter,
    TagOption,
    WaitOption,
    WhileRunningOption,
    WordsFilter,
    group,
    keyed,
)
from penstock.cli.output import (
    Column,
    Output,
    amount,
    command,
    done,
    duration,
    say,
    show_json,
    show_list,
    show_record,
    show_rows,
)
from penstock.cli.plans import show_plan
from penstock.cli.progress import launched
from penstock.client import configuration
from penstock.client.client import Client
from penstock.errors import InvalidInput
from penstock.model.configuration import said
from penstock.model.snapshot import Content
from penstock.model.template import Template, named
from penstock.model.terms import said as terms_said

app = group()

NoteOption = Annotated[str | None, typer.Option("--note", help="Why, for the history.")]
AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="The alias.")]

_COLUMNS = (
    Column("NAME", lambda template: template.name),
    Column("VERSION", lambda template: f"v{template.current.version}"),
    Column("ALIASES", lambda template: tuple(_aliases(template)), spare=True),
    Column("PIPELINE", lambda template: template.pipeline_name),
    Column("TAGS", lambda template: template.tags, spare=True),
    Column("PUBLISHED", lambda template: template.latest.created),
    Column("ID", lambda template: template.id, spare=True),
)

_CHANGES = (
    Column("BREAKING", lambda change: "breaking" if change.breaking else ""),
    Column("WHAT", lambda change: change.subject),
    Column("NAME", lambda change: change.name),
    Column("CHANGE", lambda change: change.kind),
    Column("DETAIL", lambda change: change.detail),
)
_USAGE = (
    Column("ACCOUNT", lambda one: one.account),
    Column("CALLS", lambda one: sum(one.counts.values())),
    Column("BECAME", lambda one: tuple(f"{count} {verdict}" for verdict, count in sorted(one.counts.items()))),
    Column("TOOK", lambda one: duration(one.seconds)),
    Column("COST", lambda one: None if one.cost is None else amount(one.cost), spare=True),
    Column("LAST", lambda one: one.last),
)
_MOVES: tuple[Column, ...] = (
    Column("MEANT", lambda move: f"v{move.version}" if move.version else "nothing"),
    Column("SINCE", lambda move: move.at),
    Column("BY", lambda move: move.account),
    Column("NOTE", lambda move: move.note),
)


@app.command("list")
def list_templates(
    name: NameFilter = None,
    pipeline: PipelineFilter = None,
    tag: TagFilter = [],  # noqa: B006  (Typer copies it)
    search: WordsFilter = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List run templates."""
    page = Client().templates.list(size=size, cursor=cursor, name=name, pipeline=pipeline, tag=tag, q=search)
    show_list(page, _COLUMNS, output, nothing="No run templates.")


@app.command()
def show(template: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show a run template and how to fill it in."""
    detail = Client().templates.get(template)
    fields = {
        **_fields(detail.template),
        "Versions": "\n".join(f"v{one.version}  {one.snapshot_id}" for one in reversed(detail.template.versions)),
        "Presets": tuple(detail.template.terms.presets),
        "Parameters": "\n".join(described(detail.parameter_schema)),
        "Steps": detail.steps,
        "Configuration": json.dumps(said(detail.config_template), indent=2, ensure_ascii=False),
    }
    show_record(detail.plain(), fields, output)


@app.command()
def openapi(template: Reference) -> None:
    """Print the OpenAPI document of a version (NAME, NAME@vN, NAME@ALIAS).

    A typed client for this very version can be generated from it.
    """
    show_json(Client().templates.openapi(template))


@app.command()
def run(
    template: Annotated[str, typer.Argument(metavar="NAME", help="A name, NAME@vN, NAME@ALIAS, or an id.")],
    param: ParamOption = [],  # noqa: B006  (Typer copies it)
    step_param: StepParamOption = [],  # noqa: B006  (Typer copies it)
    config: ConfigOption = None,
    run_name: RunNameOption = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Values that the template has under this name.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what it would do, step by step, and start nothing.")
    ] = False,
    plan_token: Annotated[
        str | None, typer.Option("--plan-token", help="Start it only if the plan with this token still holds.")
    ] = None,
    idempotency_key: KeyOption = None,
    while_running: WhileRunningOption = None,
    callback_url: CallbackUrlOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a template and watch the run."""
    client = Client()
    given = collect(
        lambda: content_of(client, template),
        params=param,
        step_params=step_param,
        config=config,
        run_name=run_name,
        preset=preset,
    )
    if plan:
        if plan_token is not None:
            raise InvalidInput("Give --plan to see a plan, or --plan-token to hold a run to one.")
        if idempotency_key is not None:
            raise InvalidInput("--plan starts nothing: an --idempotency-key has no meaning with it.")
        if callback_url is not None:
            raise InvalidInput("--plan starts nothing: a --callback-url has no meaning with it.")
        show_plan(client.templates.plan(template, **given), output)
        return
    key = keyed(idempotency_key, while_running)
    started = client.templates.run(
        template, plan_token=plan_token, idempotency_key=key, callback_url=callback_url, **given
    )
    launched(client, started, output, wait=wait)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the template, new or known.")],
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="Publish this snapshot (id or name).")] = None,
    from_run: Annotated[str | None, typer.Option("--run", help="Publish what this run used (id or name).")] = None,
    description: DescriptionOption = None,
    tag: TagOption = [],  # noqa: B006
    output: OutputOption = Output.TABLE,
) -> None:
    """Publish a snapshot under a name.

    A known name gets the next version; the same snapshot published again changes nothing.
    """
    if (snapshot is None) == (from_run is None):
        raise InvalidInput("Say what to publish: either --snapshot or --run.")
    template = Client().templates.create(name, snapshot_id=snapshot, run_id=from_run, description=description, tags=tag)
    show_template(template, output)


@app.command()
def usage(template: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show who has called a template, how often, and what became of it."""
    found = Client().templates.usage(template)
    if output is Output.JSON:
        show_json(found)
    elif found:
        show_rows(found, _USAGE)
    else:
        say("Nobody has called it.")


@app.command()
def diff(
    template: Reference,
    before: Annotated[str, typer.Argument(metavar="FROM", help="v6, or an alias.")],
    after: Annotated[str, typer.Argument(metavar="TO", help="v7, or an alias.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what is different between two versions, and who would be refused by the newer one."""
    found = Client().templates.diff(template, before, after)
    if output is Output.JSON:
        show_json(found)
        return
    if found.changes:
        show_rows(found.changes, _CHANGES)
    else:
        say("Nothing is different.")
    if found.cache_lost:
        say(f"Carried out instead of taken from the cache: {', '.join(found.cache_lost)}.")
    say(f"Of {found.checked} presets and recent runs, v{found.after} would refuse {len(found.hits)}.")
    for hit in found.hits:
        by = f" by {hit.account}" if hit.account else ""
        reasons = "; ".join(f"{one['pointer']}: {one['message']}" for one in hit.faults)
        say(f"  {hit.kind} {hit.name}{by}: {reasons}")


@app.command()
def promote(
    template: Reference,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="v7, or an alias: what it means now.")],
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="prod, staging, ...; default is what the name means.")],
    allow_breaking: Annotated[
        bool, typer.Option("--allow-breaking", help="Also if callers would be refused who are right today.")
    ] = False,
    expected: Annotated[
        str | None, typer.Option("--expected", metavar="VN", help="Only if the alias means this version now.")
    ] = None,
    note: NoteOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have an alias mean a version."""
    number = None if expected is None else _number(expected)
    moved = Client().templates.promote(
        template, version, alias, allow_breaking=allow_breaking, expected=number, note=note
    )
    show_record(moved, _fields(moved), output)


@app.command()
def rollback(
    template: Reference, alias: AliasArgument, note: NoteOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Have an alias mean what it meant before its last move."""
    moved = Client().templates.rollback(template, alias, note=note)
    show_record(moved, _fields(moved), output)


@app.command()
def history(template: Reference, alias: AliasArgument, output: OutputOption = Output.TABLE) -> None:
    """Show which versions an alias has meant."""
    moves = Client().templates.history(template, alias)
    if output is Output.JSON:
        show_json(moves)
    else:
        show_rows(moves, _MOVES)


@app.command("delete-alias")
def delete_alias(template: Reference, alias: AliasArgument, output: OutputOption = Output.TABLE) -> None:
    """Take an alias away; its history stays."""
    left = Client().templates.remove_alias(template, alias)
    show_record(left, _fields(left), output)


@app.command()
def terms(
    template: Reference,
    change: Annotated[
        Path | None,
        typer.Option("--set", metavar="FILE", help="Put the terms in this YAML or JSON file in their place."),
    ] = None,
    revision: Annotated[
        int | None, typer.Option("--revision", min=1, help="With --set: only over the terms of this revision.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the terms of a template as YAML: defaults, presets, locked and hidden parameters. Or set them."""
    client = Client()
    if change is not None:
        found = client.templates.set_terms(template, configuration.read(change), revision=revision)
        done(f"The terms of {found.name} are at revision {found.revision}.", terms_said(found.terms), output)
        return
    if revision is not None:
        raise InvalidInput("--revision goes with --set.")
    found = client.templates.get(template).template
    if output is Output.JSON:
        show_json(terms_said(found.terms))
    else:
        typer.echo(as_yaml(terms_said(found.terms)) or "{}\n", nl=False)


@app.command()
def tag(
    template: Reference,
    add: AddOption = [],  # noqa: B006  (Typer copies it)
    remove: RemoveOption = [],  # noqa: B006
    output: OutputOption = Output.TABLE,
) -> None:
    """Put tags on a run template, or take them off."""
    noted = Client().templates.annotate(template, add_tags=add, remove_tags=remove)
    told = f"Run template {noted.name} has the tags: {', '.join(noted.tags) or 'none'}."
    done(told, {"tags": noted.tags}, output)


@app.command()
def delete(template: Reference, output: OutputOption = Output.TABLE) -> None:
    """Delete a run template.

    All its versions go; its snapshots and runs stay.
    """
    Client().templates.delete(template)
    done(f"Run template {template} is deleted.", {"deleted": template}, output)


def show_template(template: Template, output: Output) -> None:
    """Print a template that was just published, and how to call it."""
    show_record(template, _fields(template), output)
    say(f"Run it: {command('run-template', 'run', template.name)}")


def _fields(template: Template) -> dict[str, object]:
    return {
        "Run template": template.name,
        "ID": template.id,
        "Version": f"v{template.current.version}" + _newer(template),
        "Aliases": _aliases(template),
        "Pipeline": template.pipeline_name,
        "Snapshot": template.current.snapshot_id,
        "Description": template.description,
        "Tags": template.tags,
        "Published": template.latest.created,
    }


def content_of(client: Client, reference: str) -> Content:
    """What a run of this version of the template carries out."""
    detail = client.templates.get(reference)
    version = detail.template.version(detail.version)
    assert version is not None
    return client.snapshots.get(version.snapshot_id).content


def _number(version: str) -> int:
    number = named(version)
    if not isinstance(number, int):
        raise typer.BadParameter(f"'{version}': write v7 for version 7.", param_hint="--expected")
    return number


def _aliases(template: Template) -> list[str]:
    return [f"{alias} = v{version}" for alias, version in template.aliases.items()]


def _newer(template: Template) -> str:
    if template.latest == template.current:
        return ""
    return f" (the alias default; v{template.latest.version} is newer)"

"""`penstock run-template`: publish, see, run and delete run templates."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from penstock.cli.inputs import collect, described
from penstock.cli.options import (
    ConfigOption,
    CursorOption,
    OutputOption,
    ParamOption,
    PipelineFilter,
    Reference,
    RunNameOption,
    SizeOption,
    StepParamOption,
    WaitOption,
    group,
)
from penstock.cli.output import Column, Output, command, done, say, show_json, show_list, show_record
from penstock.cli.progress import launched
from penstock.client.client import Client
from penstock.errors import InvalidInput
from penstock.model.configuration import said
from penstock.model.snapshot import Content
from penstock.model.template import Template, parse_reference

app = group()

_COLUMNS = (
    Column("NAME", lambda template: template.name),
    Column("LATEST", lambda template: f"v{template.latest.version}"),
    Column("PIPELINE", lambda template: template.pipeline_name),
    Column("TAGS", lambda template: template.tags, spare=True),
    Column("PUBLISHED", lambda template: template.latest.created),
    Column("ID", lambda template: template.id, spare=True),
)


@app.command("list")
def list_templates(
    name: Annotated[str | None, typer.Option("--name", help="Only the one of this name.")] = None,
    pipeline: PipelineFilter = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only those with this tag.")] = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List run templates."""
    page = Client().templates.list(size=size, cursor=cursor, name=name, pipeline=pipeline, tag=tag)
    show_list(page, _COLUMNS, output, nothing="No run templates.")


@app.command()
def show(template: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show a run template and how to fill it in."""
    detail = Client().templates.get(template)
    fields = {
        **_fields(detail.template),
        "Versions": "\n".join(f"v{one.version}  {one.snapshot_id}" for one in reversed(detail.template.versions)),
        "Parameters": "\n".join(described(detail.parameter_schema)),
        "Steps": detail.steps,
        "Configuration": json.dumps(said(detail.config_template), indent=2, ensure_ascii=False),
    }
    show_record(detail.plain(), fields, output)


@app.command()
def openapi(template: Reference) -> None:
    """Print the OpenAPI document of a version (NAME, NAME@vN).

    A typed client for this very version can be generated from it.
    """
    show_json(Client().templates.openapi(template))


@app.command()
def run(
    template: Annotated[str, typer.Argument(metavar="NAME", help="A name, NAME@vN, or an id.")],
    param: ParamOption = [],  # noqa: B006  (Typer copies it)
    step_param: StepParamOption = [],  # noqa: B006  (Typer copies it)
    config: ConfigOption = None,
    run_name: RunNameOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a template and watch the run."""
    client = Client()
    given = collect(
        lambda: _content(client, template), params=param, step_params=step_param, config=config, run_name=run_name
    )
    launched(client, client.templates.run(template, **given), output, wait=wait)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the template, new or known.")],
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="Publish this snapshot (id or name).")] = None,
    from_run: Annotated[str | None, typer.Option("--run", help="Publish what this run used (id or name).")] = None,
    description: Annotated[str | None, typer.Option("--description", "-d", help="What it is for.")] = None,
    tag: Annotated[list[str], typer.Option("--tag", "-t", help="May be given repeatedly.")] = [],  # noqa: B006
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
        "Latest": f"v{template.latest.version}",
        "Pipeline": template.pipeline_name,
        "Snapshot": template.latest.snapshot_id,
        "Description": template.description,
        "Tags": template.tags,
        "Published": template.latest.created,
    }


def _content(client: Client, reference: str) -> Content:
    """What a run of this version of the template carries out."""
    template, wanted = client.templates.get(reference).template, parse_reference(reference)[1]
    version = next((one for one in template.versions if one.version == wanted), template.latest)
    return client.snapshots.get(version.snapshot_id).content

"""`penstock pipeline`: run, freeze and list pipelines, and their snapshots."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Annotated, Unpack

import typer

import penstock
from penstock.author.pipeline import Pipeline
from penstock.author.source import load_source
from penstock.cli.deployments import (
    DeployerOption,
    DeployerOptions,
    GenerateKeyOption,
    NewNameOption,
    UpdateOption,
    options_of,
    show_deployment,
    waited,
)
from penstock.cli.failures import FAILED
from penstock.cli.inputs import collect, described
from penstock.cli.options import (
    CallbackUrlOption,
    ConfigOption,
    CursorOption,
    DescriptionOption,
    FromRequestOption,
    FrozenConfigOption,
    KeyOption,
    NameFilter,
    OutputOption,
    ParamOption,
    PipelineFilter,
    PythonOption,
    Reference,
    RequirementsOption,
    RunNameOption,
    SizeOption,
    Source,
    StepParamOption,
    TagOption,
    TimeoutOption,
    WaitOption,
    WhileRunningOption,
    WordsFilter,
    group,
    keyed,
)
from penstock.cli.output import Column, Output, done, say, show_list, show_record
from penstock.cli.plans import required
from penstock.cli.progress import launched
from penstock.cli.templates import show_template
from penstock.client.client import Client
from penstock.client.deployments import PATIENCE
from penstock.client.runs import Again
from penstock.errors import InvalidInput, PenstockError
from penstock.model.run import Run
from penstock.model.snapshot import Snapshot

app = group()
snapshot_app = group()
app.add_typer(snapshot_app, name="snapshot", help="Frozen pipelines.")

_COLUMNS = (
    Column("NAME", lambda pipeline: pipeline.name),
    Column("CREATED", lambda pipeline: pipeline.created),
    Column("LATEST SNAPSHOT", lambda pipeline: pipeline.latest_snapshot_id, spare=True),
    Column("ID", lambda pipeline: pipeline.id, spare=True),
)

_SNAPSHOT_COLUMNS = (
    Column("ID", lambda snapshot: snapshot.id),
    Column("PIPELINE", lambda snapshot: snapshot.content.pipeline),
    Column("NAMES", lambda snapshot: snapshot.names),
    Column("CREATED", lambda snapshot: snapshot.created, spare=True),
)


@app.command("list")
def list_pipelines(
    name: NameFilter = None,
    search: WordsFilter = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List pipelines."""
    page = Client().pipelines.list(name=name, q=search, size=size, cursor=cursor)
    show_list(page, _COLUMNS, output, nothing="No pipelines.")


@app.command("run")
def run_pipeline(
    source: Source,
    param: ParamOption = [],  # noqa: B006  (Typer copies it)
    step_param: StepParamOption = [],  # noqa: B006  (Typer copies it)
    config: ConfigOption = None,
    run_name: RunNameOption = None,
    idempotency_key: KeyOption = None,
    from_request: FromRequestOption = None,
    while_running: WhileRunningOption = None,
    callback_url: CallbackUrlOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Freeze a pipeline, run it, watch the run."""
    client, snapshot = Client(), _pipeline(source).create_snapshot()
    given = collect(lambda: snapshot.content, params=param, step_params=step_param, config=config, run_name=run_name)
    key = keyed(idempotency_key, while_running)
    run = _started(client, snapshot, from_request, idempotency_key=key, callback_url=callback_url, **given)
    launched(client, run, output, wait=wait)


@app.command("create-run-template")
def create_run_template(
    source: Source,
    name: Annotated[str, typer.Option("--name", "-n", help="The name of the run template.")],
    description: DescriptionOption = None,
    tag: TagOption = [],  # noqa: B006
    config: FrozenConfigOption = None,
    requirements: RequirementsOption = None,
    python: PythonOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Freeze and publish a pipeline.

    A known name gets the next version; the same thing published again changes nothing.
    """
    show_template(
        _requiring(_pipeline(source, config), requirements, python).create_run_template(name, description, tag), output
    )


@app.command("deploy")
def deploy(
    source: Source,
    name: NewNameOption,
    config: FrozenConfigOption = None,
    update: UpdateOption = False,
    generate_key: GenerateKeyOption = False,
    deployer: DeployerOption = None,
    deployer_option: DeployerOptions = [],  # noqa: B006  (Typer copies it)
    timeout: TimeoutOption = PATIENCE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Freeze a pipeline and keep it warm behind HTTP."""
    made = _pipeline(source, config).deploy(
        name,
        None,
        update=update,
        generate_auth_key=generate_key,
        deployer=deployer,
        deployer_options=options_of(deployer_option),
    )
    show_deployment(waited(made, timeout), output)


@app.command("write-config")
def write_config(
    source: Source,
    to: Annotated[Path, typer.Option("--to", help="The file to write.")] = Path("run.yaml"),
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace it if it is there.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a run configuration to fill in.

    A commented YAML file with every parameter and option, for --config.
    """
    _pipeline(source).write_run_configuration_template(to, force=force)
    done(f"{to} is written.", {"written": str(to)}, output)


@snapshot_app.command("create")
def create_snapshot(
    source: Source,
    name: Annotated[str | None, typer.Option("--name", "-n", help="A name for it, unique in the pipeline.")] = None,
    description: DescriptionOption = None,
    config: FrozenConfigOption = None,
    requirements: RequirementsOption = None,
    python: PythonOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Freeze a pipeline.

    The same code gives the same snapshot.
    """
    _show(_requiring(_pipeline(source, config), requirements, python).create_snapshot(name, description), output)


@snapshot_app.command("list")
def list_snapshots(
    pipeline: PipelineFilter = None,
    name: NameFilter = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List snapshots, newest first."""
    page = Client().snapshots.list(pipeline=pipeline, name=name, size=size, cursor=cursor)
    show_list(page, _SNAPSHOT_COLUMNS, output, nothing="No snapshots.")


@snapshot_app.command("show")
def show_snapshot(
    snapshot: Reference,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="Whose, if several have one of that name.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a snapshot: its steps and what can be given."""
    _show(Client().snapshots.get(snapshot, pipeline=pipeline), output)


@snapshot_app.command("deploy")
def deploy_snapshot(
    snapshot: Reference,
    name: NewNameOption,
    update: UpdateOption = False,
    generate_key: GenerateKeyOption = False,
    deployer: DeployerOption = None,
    deployer_option: DeployerOptions = [],  # noqa: B006  (Typer copies it)
    timeout: TimeoutOption = PATIENCE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep a snapshot warm behind HTTP."""
    made = Client().deployments.create(
        name,
        snapshot=snapshot,
        update=update,
        generate_auth_key=generate_key,
        deployer=deployer,
        deployer_options=options_of(deployer_option),
    )
    show_deployment(waited(made, timeout), output)


@snapshot_app.command("run")
def run_snapshot(
    snapshot: Reference,
    param: ParamOption = [],  # noqa: B006  (Typer copies it)
    step_param: StepParamOption = [],  # noqa: B006  (Typer copies it)
    config: ConfigOption = None,
    run_name: RunNameOption = None,
    idempotency_key: KeyOption = None,
    from_request: FromRequestOption = None,
    while_running: WhileRunningOption = None,
    callback_url: CallbackUrlOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a snapshot and watch the run."""
    client = Client()
    found = client.snapshots.get(snapshot)
    given = collect(lambda: found.content, params=param, step_params=step_param, config=config, run_name=run_name)
    key = keyed(idempotency_key, while_running)
    run = _started(client, found, from_request, idempotency_key=key, callback_url=callback_url, **given)
    launched(client, run, output, wait=wait)


def _started(client: Client, snapshot: Snapshot, request: str | None, **how: Unpack[Again]) -> Run:
    """A run of the snapshot: with the values of a request to a deployment, where one is named, and what is given over them."""
    if request is None:
        return client.snapshots.run(snapshot.id, **how)
    asked = client.runs.get(request)
    if asked.cause.kind != "deployment":
        raise InvalidInput(
            f"Run {asked.name} is no request to a deployment. To start it again: penstock run replay {asked.name}"
        )
    return client.runs.replay(asked, snapshot_id=snapshot.id, **how)


def _pipeline(source: str, config: Path | None = None) -> Pipeline:
    """The pipeline at `source`, under a run configuration if there is one.

    What the user's module raises is shown as Python shows it, without our frames.
    """
    try:
        found = load_source(source)
        return found if config is None else found.with_options(config_path=config)
    except PenstockError:
        raise
    except Exception as error:  # importing a module runs it: it can raise anything
        frames = error.__traceback__
        while frames is not None and not _is_users(frames.tb_frame.f_code.co_filename):
            frames = frames.tb_next
        say("".join(traceback.format_exception(type(error), error, frames)).rstrip())
        say(f"\nError: importing '{source}' failed.")
        raise typer.Exit(FAILED) from error


def _requiring(pipeline: Pipeline, requirements: Path | None, python: str | None) -> Pipeline:
    """The pipeline with what is said on the command line; a file is meant from where one stands."""
    file = requirements.absolute() if requirements is not None else None
    return pipeline if file is None and python is None else pipeline.with_options(requirements=file, python=python)


def _is_users(file: str) -> bool:
    ours = Path(penstock.__file__).parent
    return not file.startswith("<frozen ") and not Path(file).is_relative_to(ours) and "importlib" not in file


def _show(snapshot: Snapshot, output: Output) -> None:
    content = snapshot.content
    fields = {
        "Snapshot": snapshot.id,
        "Pipeline": content.pipeline,
        "Names": snapshot.names,
        "Description": content.description,
        "Source": content.source,
        "Created": snapshot.created,
        "Parameters": "\n".join(described(content.parameter_schema)),
        "Steps": tuple(invocation.id for invocation in content.graph.invocations),
        "Python": content.environment.python,
        "Requires": required(content.environment.requires),
    }
    show_record(snapshot, fields, output)
    if not snapshot.runnable:
        say(f"It cannot be run: {content.code_note or 'its code was not archived'}")

"""The command line, `matinee`."""

from __future__ import annotations

import atexit
import datetime
import gc
import importlib.metadata
import io
import os
import pathlib
import shutil
import signal
import sys
import time
import uuid
import warnings
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import Progress
from rich.text import Text

from pipeline import config as run_config
from pipeline import options, queries
from pipeline.artifacts import DEFAULT_OUTPUT, DEFAULT_SERVING, SERVING_FOLDER, newest
from pipeline.data_sample import SampleConfig, write_sample
from schemas import keys
from schemas.configuration import build, fields_of
from schemas.data_spec import DEFAULT, built_in, to_yaml
from schemas.data_spec import load as load_spec
from serving.config import ServiceConfig, TowerConfig

_SETTINGS: dict[str, Any] = {"context_settings": {"help_option_names": ["-h", "--help"]}, "no_args_is_help": True}
app = typer.Typer(**_SETTINGS, pretty_exceptions_enable=False)
data_app = typer.Typer(help="Make or fetch a data set.", **_SETTINGS)
app.add_typer(data_app, name="data")
index_app = typer.Typer(help="Change the served index.", **_SETTINGS)
app.add_typer(index_app, name="index")

_EXIT_FAILED, _EXIT_USAGE, _EXIT_REFUSED, _EXIT_INTERRUPTED = 1, 2, 3, 130
_STATUSES = (
    "Exit status: 0 pushed, or nothing to do; 1 a component failed; 2 wrong options or files; 3 the gate refused the "
    "model, and what was served stays; 130 interrupted."
)
_EXTRAS = {
    "serving": "faiss fastapi rapidfuzz structlog uvicorn prometheus_client httpx tenacity".split(),
    "pipeline": "tfx tensorflow tensorflow_transform tensorflow_serving apache_beam ml_metadata tfx_bsl keras scipy "
    "plotly jinja2 pyarrow google isal dill joblib".split(),
}
_PANELS = {
    "data": "Reading the data",
    "beam": "Beam",
    "trainer": "Towers and training",
    "tuner": "Tuner",
    "warm_start": "Going on from the served model",
    "gate": "Evaluation gate",
    "pusher": "Pusher",
    "bulk": "Lists for everybody",
    "kubeflow": "Cluster",
}
_RUN_SECTIONS = {name: cls for name, cls in run_config.sections().items() if name != "kubeflow"}
_DataSpec = Annotated[
    str | None,
    typer.Option(
        help=f"How the tables are written: a YAML file, or one of {', '.join(built_in())}; see docs/data.md",
        show_default=DEFAULT,
    ),
]
_Config = TypeVar("_Config")
_SERVE_SECTIONS = {"service": ServiceConfig, "tower": TowerConfig}
_SERVE_PANELS = {"service": "HTTP service", "tower": "User tower"}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"matinee {importlib.metadata.version('matinee')}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Two-tower movie recommendations: train them with TFX, publish and query them."""


def main() -> None:
    """Run the command line."""
    # Before TensorFlow is imported: its C++ notices would go between the lines of the output.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    # Whoever is told to end cleans up as whoever is interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A title may have letters that the terminal's encoding lacks.
            stream.reconfigure(errors="replace")
    try:
        # Without standalone mode an exit status is returned, not raised.
        raise SystemExit(app(standalone_mode=False))
    except (typer.Abort, KeyboardInterrupt):
        raise SystemExit(_EXIT_INTERRUPTED) from None
    except Exception as error:
        worded = _missing(error) if isinstance(error, ModuleNotFoundError) else ""
        expected = isinstance(error, ValueError | RuntimeError | OSError) or hasattr(error, "format_message")
        if not expected and not worded:
            raise
        worded = worded or _worded(error)
        if not worded:  # Without arguments there is the help, and nothing more to say.
            raise SystemExit(_EXIT_USAGE) from None
        from serving.console import terminal_console

        line = Text.assemble(("error", "bold red"), f" {worded}")
        terminal_console(stderr=True).print(line, soft_wrap=True)
        raise SystemExit(_EXIT_USAGE) from None


def _missing(error: ModuleNotFoundError) -> str:
    """Say which extra a package that is missing belongs to; nothing if to none."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in _EXTRAS.items():
        if package in packages:
            return f"this needs the package {package}, which is not installed: pip install 'matinee[{extra}]'"
    return ""


def _worded(error: Exception) -> str:
    """Word an error for people; of the operating system's, what it is about and why."""
    if hasattr(error, "format_message"):
        return str(error.format_message())
    if isinstance(error, OSError) and error.strerror:
        where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return f"{where}: {error.strerror}" if where else error.strerror
    return str(error)


def _run(
    data: Annotated[
        str | None,
        typer.Option(help="Directory, archive or URI with ratings and movies, CSV or Parquet", show_default="a sample"),
    ] = None,
    output: Annotated[
        str, typer.Option(help="Directory of artifacts, metadata, logs and served versions")
    ] = DEFAULT_OUTPUT,
    serving_dir: Annotated[
        str | None, typer.Option(help="Path or URI of the served versions", show_default="OUTPUT/serving")
    ] = None,
    config: Annotated[str | None, typer.Option(help="YAML file; options on the command line override it")] = None,
    user: Annotated[
        str | None, typer.Option(help="User to recommend to in the summary", show_default="the first")
    ] = None,
    data_spec: _DataSpec = None,
    cache: Annotated[bool, typer.Option(help="Skip components whose inputs, parameters and code are unchanged")] = True,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the configuration as YAML and exit")
    ] = False,
    **overrides: Any,
) -> None:
    """Run the pipeline on this machine and publish the model if it is good enough."""
    settings = run_config.load(config, overrides, data_spec)
    if print_config:
        typer.echo(run_config.to_yaml(settings), nl=False)
        return
    from pipeline import preflight

    preflight.check_options(settings, output)
    if data is None:
        data = str(pathlib.Path(output) / "sample")
        if not (pathlib.Path(data) / "ratings.csv").exists():
            rows = write_sample(data, SampleConfig())
            typer.echo(f"No --data: made a sample of {rows:,} ratings in {data}")
    preflight.check_input(settings, data, user)
    _run_pipeline(settings, data, output, serving_dir or str(pathlib.Path(output) / SERVING_FOLDER), cache, user)


app.command("run", epilog=_STATUSES)(options.with_options(_run, _RUN_SECTIONS, _PANELS))


def _run_pipeline(
    settings: run_config.RunConfig, data: str, output: str, serving_dir: str, cache: bool, user: str | None
) -> None:
    from pipeline import cores
    from pipeline.terminal import RunView, elapsed, redirected_to

    begin = time.monotonic()
    cores.share_out()
    log = pathlib.Path(output) / "logs" / f"run-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
    with redirected_to(log) as console:
        console.print(f"Data    {data}\nOutput  {output}\nLog     {log}\n", soft_wrap=True)
        with RunView(console) as view:
            view.start("Loading TFX")
            gc.disable()  # Looking for garbage among a million objects of modules takes a third of the time.
            from pipeline import local_runner
            from pipeline.summary import detail, evaluation_of, print_summary

            gc.freeze()
            gc.enable()
            atexit.register(gc.freeze)  # At exit it takes three seconds more, for what the system takes back anyway.
            view.end("done")
            try:
                results = local_runner.run(
                    settings,
                    data,
                    output,
                    serving_dir,
                    cache,
                    on_start=view.start,
                    on_end=lambda result: view.end("cached" if result.cached else "done", detail(result)),
                    user_id=user,
                )
            except local_runner.ComponentFailed as failure:
                view.end("failed")
                failed = (f"\n{failure.node} failed", "bold red")
                console.print(Text.assemble(failed, f": {_cause(failure.error)}"), soft_wrap=True)
                console.print(f"Nothing half-written was kept; what was served stays. Log: {log}", soft_wrap=True)
                raise typer.Exit(_EXIT_FAILED) from None
            except KeyboardInterrupt:
                view.end("stopped")
                console.print(f"\nStopped in {view.node}. Nothing half-written was kept. Log: {log}", soft_wrap=True)
                raise typer.Exit(_EXIT_INTERRUPTED) from None
        print_summary(console, results, serving_dir, user)
        console.print(f"\nTotal   {elapsed(time.monotonic() - begin)}")
        if not evaluation_of(results).blessed:
            raise typer.Exit(_EXIT_REFUSED)
        where = "" if serving_dir == DEFAULT_SERVING else f" --serving-dir {serving_dir}"
        console.print(f"Next    matinee serve{where}, or matinee recommend --rate MOVIE:5{where}", soft_wrap=True)


def _cause(error: BaseException) -> str:
    """Word an exception in one line: our own errors speak for themselves, others are named."""
    text = str(error).strip().splitlines() or [""]
    return text[0] if isinstance(error, ValueError) else f"{type(error).__name__}: {text[0]}"


def _compile(
    output: Annotated[str, typer.Option(help="File to write")] = "matinee.yaml",
    data: Annotated[str, typer.Option(help="URI of the data set that the steps can read: a parameter's default")] = "",
    serving_dir: Annotated[str, typer.Option(help="URI of the served versions: a parameter's default")] = "",
    config: Annotated[str | None, typer.Option(help="YAML file; options on the command line override it")] = None,
    data_spec: _DataSpec = None,
    **overrides: Any,
) -> None:
    """Compile the pipeline for Kubeflow Pipelines or Vertex AI."""
    settings = run_config.load(config, overrides, data_spec)
    from pipeline.kubeflow import parameters
    from pipeline.terminal import silenced

    with silenced():
        from pipeline.kubeflow import compiler

        documents = compiler.compile_pipeline(settings, data, serving_dir)
    compiler.write(documents, output)
    found = documents[0]["root"]["inputDefinitions"]["parameters"]
    for name, value in sorted(found.items()):
        section = parameters.section_of(name)
        shown = f"matinee submit --set {section}.<option>=<value>" if section else value.get("defaultValue", "")
        typer.echo(f"parameter {name} = {shown}")
    typer.echo(f"{output}: {len(documents[0]['components'])} components. Next: matinee submit --package {output}")


app.command("compile")(options.with_options(_compile, run_config.sections(), _PANELS))


@app.command()
def submit(
    endpoint: Annotated[str, typer.Option(help="URL of Kubeflow Pipelines")],
    package: Annotated[str, typer.Option(help="The compiled file")] = "matinee.yaml",
    run_name: Annotated[str | None, typer.Option(help="Name of the run", show_default="matinee and the time")] = None,
    experiment: Annotated[str, typer.Option(help="Experiment of the run")] = "matinee",
    data: Annotated[str | None, typer.Option(help="URI of the data set", show_default="the compiled one")] = None,
    serving_dir: Annotated[
        str | None, typer.Option(help="URI of the served versions", show_default="the compiled one")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the run in place of the compiled one: trainer.epochs=20; repeatable"),
    ] = None,
    pipeline_root: Annotated[
        str | None, typer.Option(help="URI of the artifacts", show_default="the compiled one")
    ] = None,
    cache: Annotated[bool, typer.Option(help="Skip steps whose inputs, parameters and code are unchanged")] = True,
    follow: Annotated[bool, typer.Option(help="Wait for the end and report each step")] = True,
    poll_s: Annotated[float, typer.Option(min=0.1, help="Seconds between two questions")] = 5.0,
    token: Annotated[str | None, typer.Option(envvar="KFP_TOKEN", help="Bearer token")] = None,
    cookies: Annotated[
        str | None, typer.Option(envvar="KFP_COOKIES", help="Cookies of a session, such as authservice_session=...")
    ] = None,
) -> None:
    """Run a compiled pipeline on Kubeflow Pipelines, print its URL and follow it."""
    from pipeline.kubeflow import parameters
    from pipeline.kubeflow.submit import SUCCEEDED, Endpoint, changed_configs, require_kfp
    from pipeline.terminal import silenced

    with silenced():
        require_kfp()
    changed = changed_configs(package, settings or [])
    with silenced():
        from components.polars_example_gen.component import DATA_FINGERPRINT
        from pipeline.kubeflow import compiler

        target = Endpoint(endpoint, token, cookies)
    given = {
        parameters.DATA: data,
        keys.SERVING_DIR: serving_dir,
        # What cannot be read from here gets a fingerprint that no earlier run had.
        DATA_FINGERPRINT: (compiler.fingerprint(data) or uuid.uuid4().hex) if data else None,
        **changed,
    }
    arguments = {name: value for name, value in given.items() if value is not None}
    name = run_name or f"matinee {datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
    run = target.submit(package, arguments, name, experiment, pipeline_root, cache)
    typer.echo(f"{name}: {run.url}")
    if follow:
        state = target.follow(run, lambda step, state: typer.echo(f"{step}  {state.lower()}"), poll_s)
        typer.echo(f"{name}: {state.lower()}")
        if state != SUCCEEDED:
            raise typer.Exit(_EXIT_FAILED)


queries.add_to(app)


@app.command()
def evaluate(
    output: Annotated[str, typer.Option(help="Output directory of `matinee run`")] = DEFAULT_OUTPUT,
    against: Annotated[
        str | None,
        typer.Option(help="Another evaluation to compare with, user by user: its directory", show_default="none"),
    ] = None,
    as_json: queries.AsJson = False,
) -> None:
    """Print what the latest evaluation measured on held-out ratings, and what the gate decided."""
    from pipeline.summary import difference_table, metrics_table, per_user
    from schemas.evaluation import Evaluation
    from serving.console import show, terminal_console

    directory = newest(output, "evaluation")
    console = terminal_console()
    if against is not None:
        from components.evaluation_gate.statistics import paired

        found = paired(per_user(directory), per_user(pathlib.Path(against)))
        if as_json:
            queries.print_json([each._asdict() for each in found])
        else:
            show(console, difference_table(found))
        return
    text = (directory / keys.EVALUATION_FILE).read_bytes()
    evaluation = Evaluation.from_json(text)
    if as_json:
        typer.echo(text)
        return
    show(console, metrics_table(evaluation))
    console.print(evaluation.reason, soft_wrap=True)


@app.command()
def report(
    output: Annotated[str, typer.Option(help="Output directory of `matinee run`")] = DEFAULT_OUTPUT,
    to: Annotated[pathlib.Path, typer.Option(help="File to write")] = pathlib.Path("report.html"),
) -> None:
    """Write the report of the latest evaluation: one HTML page that needs nothing else."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(newest(output, "evaluation") / keys.REPORT_FILE, to)
    typer.echo(f"{to}")


def _serve(
    serving_dir: Annotated[str, typer.Option(help="Path or URI of the served versions")] = DEFAULT_SERVING,
    **overrides: Any,
) -> None:
    """Serve recommendations and a page over HTTP, following new versions as they are published."""
    from serving.server import serve

    # The server has a handler of its own, and raises the signal again when it is done.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    given = {name: value for name, value in overrides.items() if value is not None}

    def part(cls: type[_Config]) -> _Config:
        return build(cls, {name: given[name] for name in fields_of(cls) if name in given})

    serve(serving_dir, part(ServiceConfig), part(TowerConfig))


app.command("serve")(options.with_options(_serve, _SERVE_SECTIONS, _SERVE_PANELS))


def _add(
    movies: Annotated[str, typer.Option(help="Movies table with the new movies, CSV or Parquet, path or URI")],
    serving_dir: Annotated[str, typer.Option(help="Path or URI of the served versions")] = DEFAULT_SERVING,
    data_spec: _DataSpec = None,
    **overrides: Any,
) -> None:
    """Add new movies to the served index without training: the served movie tower embeds them."""
    settings = run_config.load(None, overrides, data_spec)
    from pipeline.terminal import silenced

    with silenced():
        from pipeline.add_movies import add_movies

        data = settings.data
        policy = data.on_bad_rows, data.max_bad_rows
        added = add_movies(serving_dir, movies, settings.pusher.keep_versions, *policy, data.data_spec)
    typer.echo(f"{added.movies:,} movies added, published as version {added.version} under {serving_dir}")


_ADD_OPTIONS = ("keep_versions", "on_bad_rows", "max_bad_rows")
index_app.command("add")(options.with_options(_add, _RUN_SECTIONS, _PANELS, _ADD_OPTIONS))


def _sample(
    output: Annotated[str, typer.Option(help="Directory to write the tables to")] = "sample",
    data_spec: _DataSpec = None,
    **overrides: Any,
) -> None:
    """Write a synthetic data set, of MovieLens' form or of another one, the same bytes for the same seed."""
    settings = build(SampleConfig, {name: value for name, value in overrides.items() if value is not None})
    from serving.console import terminal_console

    with Progress(console=terminal_console(stderr=True)) as progress:
        task = progress.add_task("ratings", total=settings.ratings)
        if data_spec is None:
            rows = write_sample(output, settings, lambda rows: progress.advance(task, rows))
        else:
            from pipeline.written_as import write_sample_as

            rows = write_sample_as(load_spec(data_spec), output, settings, lambda rows: progress.advance(task, rows))
        progress.update(task, total=rows)
    typer.echo(f"{rows:,} ratings of {settings.movies:,} movies by {settings.users:,} users in {output}")


data_app.command("sample")(options.with_options(_sample, {"sample": SampleConfig}, {"sample": "Size"}))


@data_app.command()
def inspect(
    data: Annotated[str, typer.Argument(help="Directory or archive, path or URI")],
    data_spec: _DataSpec = None,
    output: Annotated[
        pathlib.Path | None, typer.Option(help="YAML file to write the specification to", show_default="none")
    ] = None,
) -> None:
    """Look at a data set: how it is written, its first rows as they are read, and what would be rejected."""
    from components.polars_example_gen.inspection import inspect as look
    from pipeline.inspection_view import print_inspection
    from serving.console import terminal_console

    found = look(data, None if data_spec is None else load_spec(data_spec))
    text = to_yaml(found.spec)
    print_inspection(terminal_console(), found, text)
    named = found.name
    if output:
        if output.exists():
            raise ValueError(f"{output} is there already; pass another --output")
        output.write_text(text, encoding="utf-8")
        named = str(output)
    option = "" if named == DEFAULT else f" --data-spec {named}" if named else " --data-spec SPEC.yaml"
    if not named:
        typer.echo(f"To keep the specification, for changes too: matinee data inspect {data} --output SPEC.yaml")
    typer.echo(f"Next: matinee run --data {data}{option}")


@data_app.command()
def export_events(
    events: Annotated[str, typer.Option(help="The service's: a SQLite file or postgresql://user@host/database")],
    to: Annotated[str, typer.Option(help="Path or URI of the data set's spans, with {SPAN} as its last part")],
    data_spec: _DataSpec = None,
) -> None:
    """Write what users did since the last export as one span more, which the next run takes."""
    from serving.events.service import opened

    store = opened(events, is_there=True)
    store.upgrade()
    from serving.events.export import export

    found = export(store, to, load_spec(data_spec or DEFAULT))
    store.close()
    if found.directory is None:
        typer.echo("Nothing is new")
        return
    typer.echo(
        f"{found.directory}: {found.ratings:,} ratings, {found.withdrawn:,} taken back, {found.forgotten:,} users "
        f"forgotten. Next: matinee run --data '{to}' --warm-start"
    )


@data_app.command()
def download(
    name: Annotated[str, typer.Argument(help="ml-latest-small, ml-20m, ml-25m or ml-32m")],
    output: Annotated[str, typer.Option(help="Directory to keep the archive in")] = "data",
) -> None:
    """Fetch a MovieLens archive from GroupLens and check its digest."""
    from pipeline import data_download

    typer.echo(data_download.LICENCE)
    path = data_download.download(name, output)
    typer.echo(f"{path}: {data_download.ARCHIVES[name].ratings:,} ratings. Next: matinee run --data {path}")

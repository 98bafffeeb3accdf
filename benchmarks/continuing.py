"""Going on from the served model beside training from the start: a day's ratings at a time.

    python -m benchmarks.continuing --data DIR --work WORK [--days 10] [--until 2023-02-23] [--from-the-start-every 1]

DIR is a MovieLens data set. Its last days become spans of a day each behind a first span with all that was rated
before, and what was rated after the day given by --until is left out; what is published of the first span is where both
sides begin. After every day `matinee run --warm-start` goes on from what it has published, and `matinee run` trains
anew, each with a serving root of its own. Prints the time from typing the command to the published version, and what
the gate measured of each model on the same held-out ratings.
"""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Annotated

import polars as pl
import rich.box
import typer
from rich.console import Console
from rich.table import Table

from pipeline.artifacts import newest
from schemas import keys
from schemas.evaluation import Evaluation
from schemas.ingest import SPAN

_DAY_S = 86_400
_LOG = Console(stderr=True)


@dataclasses.dataclass
class Found:
    """What a run cost, and what came of it."""

    seconds: float
    evaluation: Evaluation
    pushed: bool


def write_spans(
    data: pathlib.Path, directory: pathlib.Path, days: int, until: datetime.datetime | None
) -> list[pl.DataFrame]:
    """Write the first span, and return the ratings of each day after it."""
    ratings = pl.read_csv(data / "ratings.csv").sort("timestamp", "userId", "movieId")
    end = int(ratings["timestamp"].max()) + 1  # type: ignore[arg-type]
    if until:
        end = int(until.replace(tzinfo=datetime.timezone.utc).timestamp()) + _DAY_S
    ratings = ratings.filter(pl.col("timestamp") < end)
    day = (pl.col("timestamp") - (end - days * _DAY_S)).floordiv(_DAY_S)
    (directory / "0").mkdir(parents=True)
    ratings.filter(day < 0).write_csv(directory / "0" / "ratings.csv")
    shutil.copy(data / "movies.csv", directory / "0")
    return [ratings.filter(day == number) for number in range(days)]


def matinee_run(data: str, output: pathlib.Path, *options: str) -> Found:
    """Run the pipeline as a user would."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "run", "--data", data]
    begin = time.perf_counter()
    with (output.parent / f"{output.name}.log").open("a") as log:
        done = subprocess.run([*command, "--output", str(output), *options], stdout=log, stderr=log)
    seconds = time.perf_counter() - begin
    if done.returncode not in (0, 3):
        raise RuntimeError(f"the run failed: {output}.log")
    file = newest(output, "evaluation") / keys.EVALUATION_FILE
    return Found(seconds, Evaluation.from_json(file.read_bytes()), done.returncode == 0)


def main(
    data: Annotated[pathlib.Path, typer.Option(help="MovieLens data set.")],
    work: Annotated[pathlib.Path, typer.Option(help="Empty directory of spans and runs.")],
    days: Annotated[int, typer.Option(help="Days.")] = 10,
    until: Annotated[datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last of them.")] = None,
    from_the_start_every: Annotated[int, typer.Option(help="Train anew after every so many days.")] = 1,
) -> None:
    """Print a table of both, day by day, as Markdown."""
    spans = work / "spans"
    new = write_spans(data, spans, days, until)
    pattern = f"{spans}/{SPAN}"
    first = matinee_run(pattern, work / "continued")
    _LOG.print(f"first span: {first.seconds:.0f} s")
    table = Table(box=rich.box.MARKDOWN)
    for column in ("day", "new ratings", "", "s", "RMSE", "recall@10", "NDCG@10", "pushed"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for number, ratings in enumerate(new, 1):
        (spans / str(number)).mkdir()
        ratings.write_csv(spans / str(number) / "ratings.csv")
        runs: dict[str, tuple[str, ...]] = {"continued": ("--warm-start",)}
        if number % from_the_start_every == 0:
            runs["from the start"] = ()
        for name, options in runs.items():
            found = matinee_run(pattern, work / name.replace(" ", "-"), *options)
            quality = found.evaluation.model
            numbers = (f"{value:.4f}" for value in (quality.rmse, quality.recall, quality.ndcg))
            row = (
                str(number),
                str(ratings.height),
                name,
                f"{found.seconds:.0f}",
                *numbers,
                "yes" if found.pushed else "no",
            )
            table.add_row(*row)
            _LOG.print(*row)
    with (work / "continuing.md").open("w") as file:
        Console(file=file, width=200).print(table)
    Console(width=200).print(table)


if __name__ == "__main__":
    typer.run(main)

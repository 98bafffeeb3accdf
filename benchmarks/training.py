"""How fast the towers train, streamed from a run's examples and from the device's memory.

    python -m benchmarks.training --output OUTPUT [--rounds 7]

OUTPUT is that of a finished `matinee run`. The rounds take turns, because the speed of a machine drifts; a round is
one call of Keras' `fit`, whose first steps do not count: they fill the input.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import statistics
import time
from typing import Annotated

import keras
import polars as pl
import rich.box
import tensorflow_transform as tft
import typer
from rich.console import Console
from rich.table import Table

from components.trainer import co_ratings, devices
from components.trainer.config import TrainerConfig
from components.trainer.movie_averages import MovieAverages
from components.trainer.multi_worker import Worker
from components.trainer.source import model_class, training_source
from components.trainer.train_data import TrainData, load_data
from components.trainer.training import compiled_model
from pipeline import cores
from pipeline.artifacts import newest
from schemas import keys
from schemas.ingest import EVAL, IS_TRAIN, TRAIN

_WARM_UP_STEPS = 10


class Stopwatch(keras.callbacks.Callback):
    """Times the steps after the first call."""

    def __init__(self, steps_per_call: int) -> None:
        super().__init__()
        self._steps_per_call = steps_per_call
        self.steps, self.wall_s, self.cpu_s = 0, 0.0, 0.0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Start, or look at the clocks."""
        done = (batch + 1) * self._steps_per_call
        if done <= max(_WARM_UP_STEPS, self._steps_per_call):
            self._wall, self._cpu, self._done = time.perf_counter(), time.process_time(), done
        else:
            self.steps = done - self._done
            self.wall_s, self.cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu


def train_data_of(output: pathlib.Path) -> TrainData:
    """Load what a run's Trainer was given."""
    examples, transform = newest(output, "examples"), newest(output, "transform_graph")
    train_files, eval_files = ([f"{examples}/Split-{split}/*"] for split in (TRAIN, EVAL))
    catalog, histories = (newest(output, key) for key in (keys.MOVIE_CATALOG, keys.USER_HISTORIES))
    is_train = pl.col(IS_TRAIN)
    counts = pl.scan_parquet(histories / "*.parquet").select(train=is_train.sum(), eval=(~is_train).sum()).collect()
    train_rows, eval_rows = counts.row(0)
    graph = tft.TFTransformOutput(str(transform))
    return load_data(train_files, eval_files, graph, str(catalog), str(histories), train_rows, eval_rows)


def main(
    output: Annotated[pathlib.Path, typer.Option(help="Output of a finished run.")],
    rounds: Annotated[int, typer.Option(help="Rounds of each.")] = 7,
    steps: Annotated[int, typer.Option(help="Steps of a round.")] = 100,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a step; the default's without.")] = None,
    resident_gib: Annotated[float, typer.Option(help="Memory that rows may take.")] = 16,
) -> None:
    """Print rows per second of both as Markdown."""
    cores.share_out()  # As the command does.
    data = train_data_of(output)
    watches: dict[str, list[Stopwatch]] = {"streamed": [], "resident": []}
    fitted = {}
    for name, gib in (("streamed", 0.0), ("resident", resident_gib)):
        config = TrainerConfig(batch_size=batch_size, resident_gib=gib)
        device, averages = devices.of(config), MovieAverages.fit(data.histories)
        factors = co_ratings.fit(data.histories, config.co_rating_dim)
        source = training_source(config, data, Worker(), device, averages, factors)
        model = compiled_model(config, data, device, model_class(config, data, Worker(), device))
        source.give(model)
        model.fit(source.batches, steps_per_epoch=1, verbose=0)  # Traces.
        fitted[name] = model, source
    rows = data.batch_size(config)
    for _, (name, (model, source)) in itertools.product(range(rounds), fitted.items()):
        watch = Stopwatch(source.steps_per_call)
        calls = -(-(steps + _WARM_UP_STEPS) // source.steps_per_call) + 1
        model.fit(source.batches, steps_per_epoch=calls, callbacks=[watch], verbose=0)
        watches[name].append(watch)
    table = Table(box=rich.box.MARKDOWN)
    for column in ("", "rows/s", "ms a step", "cores busy"):
        table.add_column(column)
    speeds = {}
    for name, found in watches.items():
        step_s = statistics.median(watch.wall_s / watch.steps for watch in found)
        speeds[name] = rows / step_s
        busy = statistics.median(watch.cpu_s / watch.wall_s for watch in found)
        table.add_row(name, f"{speeds[name]:,.0f}", f"{step_s * 1e3:.1f}", f"{busy:.2f} of {os.cpu_count()}")
    console = Console(width=200)
    console.print(table)
    console.print(
        f"streamed / resident {speeds['streamed'] / speeds['resident']:.2f}; median of {rounds} rounds of "
        f"{steps} steps of {rows:,} rows, {len(data.vocabulary):,} movies"
    )


if __name__ == "__main__":
    typer.run(main)

"""PolarsExampleGen beside TFX's CsvExampleGen on the same ratings file, in one run.

    python benchmarks/example_gen.py [--data DIR] [--repeats N]

Both executors run in this process through Beam's in-memory direct runner, in turn. CsvExampleGen encodes the four
columns of ratings.csv; PolarsExampleGen reads, checks, splits and featurises them, 66 values an example, and also
writes the movie catalogue and the user histories.
"""

from __future__ import annotations

import pathlib
import shutil
import statistics
import tempfile
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from tfx.components.example_gen import utils
from tfx.components.example_gen.csv_example_gen import executor as csv_executor
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import proto_utils

from components.polars_example_gen import executor as polars_executor
from components.polars_example_gen.component import PolarsExampleGen
from pipeline.artifacts import size
from pipeline.data_sample import SampleConfig, write_sample
from schemas import artifacts, keys

_OUTPUTS = {
    standard_component_specs.EXAMPLES_KEY: standard_artifacts.Examples,
    keys.MOVIE_CATALOG: artifacts.MovieCatalog,
    keys.USER_HISTORIES: artifacts.UserHistories,
}


def execute(executor_class: type, properties: dict, root: pathlib.Path) -> tuple[float, int]:
    """Run an executor into an empty directory; return seconds and bytes of its examples."""
    shutil.rmtree(root, ignore_errors=True)
    outputs = {}
    for key, cls in _OUTPUTS.items():
        artifact = cls()
        artifact.uri = str(root / key)
        outputs[key] = [artifact]
        pathlib.Path(artifact.uri).mkdir(parents=True)
    (root / "tmp" / "1").mkdir(parents=True)
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=["--direct_running_mode=in_memory"], tmp_dir=str(root / "tmp"), unique_id="1"
    )
    executor = executor_class(context)  # Builds a wheel of TFX for Beam's workers, the same for both.
    begin = time.perf_counter()
    executor.Do({}, outputs, properties)
    seconds = time.perf_counter() - begin
    return seconds, size(root / "examples")


def main(
    data: Annotated[str | None, typer.Option(help="Data set directory", show_default="a sample of 1,000,000")] = None,
    repeats: Annotated[int, typer.Option(help="Runs of each")] = 1,
) -> None:
    """Time both components and print rows/s."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        if data is None:
            data = str(root / "data")
            write_sample(data, SampleConfig(users=6_280, movies=20_000, ratings=1_000_000))
        ratings_only = root / "ratings"
        ratings_only.mkdir()
        shutil.copy(pathlib.Path(data) / "ratings.csv", ratings_only)
        with open(ratings_only / "ratings.csv", "rb") as file:
            rows = sum(1 for _ in file) - 1
        input_config = utils.make_default_input_config()
        csv_properties = {
            standard_component_specs.INPUT_BASE_KEY: str(ratings_only),
            standard_component_specs.INPUT_CONFIG_KEY: proto_utils.proto_to_json(input_config),
            standard_component_specs.OUTPUT_CONFIG_KEY: proto_utils.proto_to_json(
                utils.make_default_output_config(input_config)
            ),
            standard_component_specs.OUTPUT_DATA_FORMAT_KEY: example_gen_pb2.FORMAT_TF_EXAMPLE,
            standard_component_specs.OUTPUT_FILE_FORMAT_KEY: example_gen_pb2.FORMAT_TFRECORDS_GZIP,
        }
        contenders = {
            "CsvExampleGen": (csv_executor.Executor, csv_properties, 4),
            "PolarsExampleGen": (polars_executor.Executor, PolarsExampleGen(data).exec_properties, 66),
        }
        runs: dict[str, list[tuple[float, int]]] = {name: [] for name in contenders}
        for _ in range(repeats):
            for name, (executor_class, properties, _) in contenders.items():
                runs[name].append(execute(executor_class, properties, root / "out"))
    table = Table(title=f"{rows:,} ratings, median of {repeats}", title_justify="left")
    for column in ("", "values/example", "seconds", "rows/s", "MB of examples", "times as fast"):
        table.add_column(column, justify="right" if column else "left")
    base = statistics.median(seconds for seconds, _ in runs["CsvExampleGen"])
    for name, (_, _, values) in contenders.items():
        seconds = statistics.median(seconds for seconds, _ in runs[name])
        megabytes = f"{runs[name][0][1] / 1e6:.1f}"
        table.add_row(name, str(values), f"{seconds:.1f}", f"{rows / seconds:,.0f}", megabytes, f"{base / seconds:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    typer.run(main)

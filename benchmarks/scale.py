"""How the pipeline grows: every component's time, memory and bytes from 1 to 32 million ratings.

    python -m benchmarks.scale --work DIR [--millions 1,4,16,32]

Each size is a synthetic sample with ml-32m's proportions (159 ratings a user, 365 a movie), run with the default
configuration and one epoch. What is in DIR already is not made or run again, so that an interrupted benchmark goes on.
Writes DIR/scale.md and DIR/scale.html.

Peak memory is the largest resident set of any one process and that of all together, looked at five times a second.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from typing import Annotated

import plotly.graph_objects as go
import psutil
import rich.box
import typer
from rich.console import Console
from rich.table import Table

from pipeline import artifacts, cores
from pipeline.artifacts import SERVING_FOLDER
from pipeline.config import RunConfig
from pipeline.data_sample import SampleConfig, write_sample
from pipeline.local_runner import NodeResult, run
from schemas.configuration import build

_ML_32M = SampleConfig(users=200_948, movies=87_585, ratings=32_000_204)
_SAMPLING_S = 0.2
_GIB = 1 << 30
_LOG = Console(stderr=True)


@dataclasses.dataclass
class Usage:
    """What a component used."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_process_bytes: int = 0
    peak_bytes: int = 0
    written_bytes: int = 0
    load: float = 0.0
    """Load average over a minute at the end: above the number of cores, others were at work, too."""


class Monitor:
    """Measures the components of a run in this process and its children."""

    def __init__(self, results: pathlib.Path) -> None:
        self._results, self._usage = results, Usage()
        self.found: dict[str, dict] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
        self._process = psutil.Process()
        threading.Thread(target=self._watch, daemon=True).start()

    def start(self, node: str) -> None:
        """Begin with a component."""
        _LOG.print(f"  {node} ...")
        self._usage, self._begin = Usage(), (time.perf_counter(), self._cpu_s())

    def end(self, result: NodeResult) -> None:
        """Write down what it used, unless it came from the cache."""
        if result.cached:
            return
        wall, cpu = self._begin
        usage = dataclasses.replace(
            self._usage,
            wall_s=time.perf_counter() - wall,
            cpu_s=self._cpu_s() - cpu,
            written_bytes=sum(artifacts.size(artifact.uri) for artifact in result.artifacts.values()),
            load=os.getloadavg()[0],
        )
        self.found[result.node] = dataclasses.asdict(usage)
        self._results.write_text(json.dumps(self.found, indent=1))
        _LOG.print(f"  {result.node} {usage.wall_s:.0f} s, {usage.peak_process_bytes / _GIB:.1f} GiB")

    def _cpu_s(self) -> float:
        """CPU time of this process and of its children, those that ended included."""
        times = self._process.cpu_times()
        own = times.user + times.system + times.children_user + times.children_system
        return own + sum(sum(child.cpu_times()[:2]) for child in self._alive())

    def _alive(self) -> list[psutil.Process]:
        return [child for child in self._process.children(recursive=True) if child.is_running()]

    def _watch(self) -> None:
        while True:
            sizes = []
            for process in (self._process, *self._process.children(recursive=True)):
                try:
                    sizes.append(process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            usage = self._usage
            usage.peak_process_bytes = max(usage.peak_process_bytes, *sizes)
            usage.peak_bytes = max(usage.peak_bytes, sum(sizes))
            time.sleep(_SAMPLING_S)


def sample_config(ratings: int) -> SampleConfig:
    """Return a sample with the proportions of ml-32m."""
    share = ratings / _ML_32M.ratings
    return dataclasses.replace(
        _ML_32M, users=round(_ML_32M.users * share), movies=round(_ML_32M.movies * share), ratings=ratings
    )


def run_size(directory: pathlib.Path, ratings: int, config: RunConfig) -> None:
    """Make the sample and run the pipeline on it, as far as it was not done before."""
    cores.share_out()  # As the command does.
    data, output = directory / "data", directory / "output"
    if not (data / ".complete").exists():
        write_sample(str(data), sample_config(ratings))
        (data / ".complete").touch()
    monitor = Monitor(directory / "usage.json")
    run(config, str(data), str(output), str(output / SERVING_FOLDER), on_start=monitor.start, on_end=monitor.end)


def table_of(sizes: dict[int, dict[str, Usage]]) -> Table:
    """Lay out seconds per million ratings, total seconds, peak memory and bytes per component and size."""
    table = Table(box=rich.box.MARKDOWN)
    for column in ("component", "million ratings", "s", "s a million", "CPU s", "peak GiB", "MB written", "load"):
        table.add_column(column, justify="left" if column == "component" else "right", no_wrap=True)
    for node in dict.fromkeys(node for found in sizes.values() for node in found):
        for millions, found in sizes.items():
            if usage := found.get(node):
                table.add_row(
                    node,
                    str(millions),
                    f"{usage.wall_s:.1f}",
                    f"{usage.wall_s / millions:.2f}",
                    f"{usage.cpu_s:.0f}",
                    f"{usage.peak_process_bytes / _GIB:.2f}",
                    f"{usage.written_bytes / 1e6:,.0f}",
                    f"{usage.load:.1f}",
                )
    return table


def figure_of(sizes: dict[int, dict[str, Usage]]) -> go.Figure:
    """Draw seconds per million ratings over the size: a flat line is linear growth."""
    figure = go.Figure()
    for node in dict.fromkeys(node for found in sizes.values() for node in found):
        at = [millions for millions, found in sizes.items() if node in found]
        figure.add_scatter(x=at, y=[sizes[millions][node].wall_s / millions for millions in at], name=node)
    figure.update_layout(
        xaxis={"title": "million ratings", "type": "log", "tickvals": list(sizes)},
        yaxis={"title": "seconds per million ratings", "type": "log"},
    )
    return figure


def main(
    work: Annotated[pathlib.Path, typer.Option(help="Directory of samples, runs and results; 6 GB at 32 million.")],
    millions: Annotated[str, typer.Option(help="Sizes.")] = "1,4,16,32",
    size: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run every size, each in a process of its own, and print the table as Markdown."""
    if size is not None:
        one_epoch = build(RunConfig, {"trainer": {"epochs": 1, "refit_epochs": 0}})
        run_size(work / f"{size}m", size * 1_000_000, one_epoch)
        return
    sizes: dict[int, dict[str, Usage]] = {}
    for each in map(int, millions.split(",")):
        _LOG.print(f"{each} million ratings")
        command = [sys.executable, "-m", "benchmarks.scale", "--work", str(work), "--size", str(each)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=(work / f"{each}m.log").open("w"))
        found = json.loads((work / f"{each}m" / "usage.json").read_text())
        sizes[each] = {node: Usage(**usage) for node, usage in found.items()}
    table = table_of(sizes)
    with (work / "scale.md").open("w") as file:
        Console(file=file, width=200).print(table)
    figure_of(sizes).write_html(work / "scale.html")
    Console(width=200).print(table)


if __name__ == "__main__":
    typer.run(main)

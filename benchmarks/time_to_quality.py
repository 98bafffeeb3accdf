"""Quality over time, beside peers: how long until a list is as good as theirs, from CSV, on all cores.

    python -m benchmarks.time_to_quality --work DIR [--millions 1,4,32]

Each size is a sample of `benchmarks.scale`, of which each user's last tenth is held out. The pipeline runs on it with
its defaults, refit included; the peers are fitted on the same train ratings in the same process afterwards and asked
for the same users, those that training looks at. Writes DIR/time_to_quality.md and DIR/time_to_quality.html; a run that
is in DIR already is not made again.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import plotly.graph_objects as go
import rich.box
import typer
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from plotly.subplots import make_subplots
from rich.console import Console
from rich.table import Table
from scipy import sparse

from benchmarks.scale import run_size
from components import dataset, ranking_metrics, rating_biases
from components.dataset import Dataset
from components.trainer.ranking import MAX_USERS
from pipeline.artifacts import newest
from pipeline.config import RunConfig
from schemas import features as f
from schemas import keys
from schemas.evaluation import Evaluation

_TRAINER = "Trainer"
_LOG = Console(stderr=True)


@dataclasses.dataclass
class Found:
    """What was measured of a model."""

    name: str
    seconds: float
    """Of fitting alone; of Matinee, from CSV to the published version."""
    ndcg: float | None = None
    rmse: float | None = None


@dataclasses.dataclass
class Curve:
    """Matinee's quality over time."""

    seconds: list[float]
    """From the beginning of the run."""
    ndcg: list[float]
    rmse: list[float]


def curve_of(directory: pathlib.Path) -> Curve:
    """Read the learning curve of a run, from the run's beginning."""
    history = json.loads((newest(directory / "output", keys.MODEL_RUN) / keys.LEARNING_CURVES_FILE).read_bytes())
    used = json.loads((directory / "usage.json").read_bytes())
    before = sum(usage["wall_s"] for usage in list(used.values())[: list(used).index(_TRAINER)])
    return Curve(
        [before + seconds for seconds in history[keys.SECONDS]],
        history[keys.VAL_NDCG],
        [float(np.sqrt(error)) * f.RATING_HALF_RANGE for error in history[keys.VAL_MSE]],
    )


def peers_of(directory: pathlib.Path) -> list[Found]:
    """Fit the peers and measure them on the users that training looks at, and on all held-out ratings."""
    catalog, histories = (str(newest(directory / "output", key)) for key in (keys.MOVIE_CATALOG, keys.USER_HISTORIES))
    data, asked = dataset.load(catalog, histories), dataset.load(catalog, histories, MAX_USERS)
    liked = data.constants.domain.scale.liked_stars
    rows = data.train & (data.stars >= liked)
    shape = data.num_users, data.catalog.height
    matrix = sparse.csr_matrix((np.ones(rows.sum(), np.float32), (data.user[rows], data.movie[rows])), shape)
    task = ranking_metrics.ranking_task(
        *(asked.user, asked.movie, asked.stars, asked.train, data.catalog.height, asked.num_users), 0, liked
    )
    users = np.searchsorted(data.user_ids, asked.user_ids)[task.users]

    def measured(name: str, fit: Callable[[], Callable[[slice], np.ndarray]]) -> Found:
        begin = time.perf_counter()
        scores = fit()
        seconds = time.perf_counter() - begin
        _LOG.print(f"  {name} {seconds:.0f} s")
        return Found(name, seconds, ranking_metrics.rank(task, scores).summary().ndcg)

    def als(factors: int) -> Callable[[slice], np.ndarray]:
        model = AlternatingLeastSquares(
            factors, regularization=0.05, alpha=10, iterations=15, random_state=0, num_threads=0
        )
        model.fit(matrix, show_progress=False)
        return lambda rows: model.user_factors[users[rows]] @ model.item_factors.T

    def knn() -> Callable[[slice], np.ndarray]:
        model = CosineRecommender(K=50)
        model.fit(matrix, show_progress=False)
        return lambda rows: (matrix[users[rows]] @ model.similarity).toarray()

    def popularity() -> Callable[[slice], np.ndarray]:
        counts = np.asarray(matrix.sum(axis=0), np.float32)
        return lambda rows: np.repeat(counts, len(users[rows]), axis=0)

    return [
        measured("popularity", popularity),
        measured("item-kNN, cosine, 50 neighbours", knn),
        *(measured(f"implicit ALS, {factors} factors", functools.partial(als, factors)) for factors in (32, 64)),
        biases(data),
    ]


def biases(data: Dataset) -> Found:
    """Fit user and movie biases."""
    begin = time.perf_counter()
    mean, of_user, of_movie = rating_biases.fit([data.matrix(data.train)])
    seconds, held = time.perf_counter() - begin, ~data.train
    predicted = np.clip(mean + of_user[data.user[held]] + of_movie[data.movie[held]], f.RATING_MIN, f.RATING_MAX)
    return Found("user and movie biases", seconds, rmse=float(np.sqrt(np.mean((predicted - data.stars[held]) ** 2))))


def matinee_of(directory: pathlib.Path) -> Found:
    """Read what the gate measured of a run's model."""
    used = json.loads((directory / "usage.json").read_bytes())
    file = newest(directory / "output", "evaluation") / keys.EVALUATION_FILE
    return Found(
        "Matinee, from CSV to the published version",
        sum(usage["wall_s"] for usage in used.values()),
        max(curve_of(directory).ndcg),
        Evaluation.from_json(file.read_bytes()).model.rmse,
    )


def table_of(sizes: dict[int, list[Found]], curves: dict[int, Curve]) -> Table:
    """Lay out seconds and quality, and after which time of its run Matinee is better than each peer."""
    table = Table(box=rich.box.MARKDOWN)
    for column in ("million ratings", "", "s", "NDCG@10", "RMSE", "Matinee is better after"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for millions, rows in sizes.items():
        for row in rows:
            curve = curves[millions]
            better = [row.ndcg is None or ndcg > row.ndcg for ndcg in curve.ndcg]
            better = [b and (row.rmse is None or e < row.rmse) for b, e in zip(better, curve.rmse, strict=True)]
            later = [seconds for seconds, is_better in zip(curve.seconds, better, strict=True) if is_better]
            table.add_row(
                str(millions),
                row.name,
                f"{row.seconds:.0f}",
                "-" if row.ndcg is None else f"{row.ndcg:.4f}",
                "-" if row.rmse is None else f"{row.rmse:.4f}",
                "" if row.name.startswith("Matinee") else f"{later[0]:.0f} s" if later else "never",
            )
    return table


def figure_of(sizes: dict[int, list[Found]], curves: dict[int, Curve]) -> go.Figure:
    """Draw NDCG@10 over wall time: Matinee as a line, every peer as a point."""
    figure = make_subplots(1, len(sizes), subplot_titles=[f"{millions} million ratings" for millions in sizes])
    for column, (millions, rows) in enumerate(sizes.items(), 1):
        curve = curves[millions]
        figure.add_scatter(x=curve.seconds, y=curve.ndcg, name="Matinee, from CSV on", row=1, col=column)
        for row in rows:
            if row.ndcg is not None and not row.name.startswith("Matinee"):
                figure.add_scatter(x=[row.seconds], y=[row.ndcg], name=row.name, mode="markers", row=1, col=column)
    return figure.update_xaxes(title="seconds").update_yaxes(title="NDCG@10", rangemode="tozero")


def main(
    work: Annotated[pathlib.Path, typer.Option(help="Directory of samples, runs and results; 6 GB at 32 million.")],
    millions: Annotated[str, typer.Option(help="Sizes.")] = "1,4,32",
    size: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run every size, each in a process of its own, and print the table as Markdown."""
    if size is not None:
        run_size(work / f"{size}m", size * 1_000_000, RunConfig())
        return
    work.mkdir(parents=True, exist_ok=True)
    sizes, curves = {}, {}
    for each in map(int, millions.split(",")):
        _LOG.print(f"{each} million ratings")
        directory = work / f"{each}m"
        command = [sys.executable, "-m", "benchmarks.time_to_quality", "--work", str(work), "--size", str(each)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=(work / f"{each}m.log").open("w"))
        curves[each] = curve_of(directory)
        sizes[each] = [*peers_of(directory), matinee_of(directory)]
    table = table_of(sizes, curves)
    with (work / "time_to_quality.md").open("w") as file:
        Console(file=file, width=200).print(table)
    figure_of(sizes, curves).write_html(work / "time_to_quality.html")
    Console(width=200).print(table)


if __name__ == "__main__":
    typer.run(main)

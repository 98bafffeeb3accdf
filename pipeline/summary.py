"""The summary of a run: data, metrics beside the baselines, what was pushed, recommendations for one user."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from pipeline.local_runner import NodeResult
from pipeline.preflight import read_summary
from schemas import keys
from schemas.evaluation import Evaluation
from serving import Recommender
from serving.answers import UnknownIdError
from serving.console import print_recommendations, show

if TYPE_CHECKING:  # It needs SciPy.
    from components.evaluation_gate.statistics import Difference

_MOVIES = 10
_GATE, _EXAMPLE_GEN = "EvaluationGate", "PolarsExampleGen"


def detail(result: NodeResult) -> str:
    """Return what a component's line says beside its counts, or an empty string."""
    for artifact in result.artifacts.values():
        if reason := artifact.custom_properties[keys.REASON].string_value:
            return reason
    return ""


def evaluation_of(results: dict[str, NodeResult]) -> Evaluation:
    """Read what the gate of a finished run measured and decided."""
    directory = pathlib.Path(results[_GATE].artifacts["evaluation"].uri)
    return Evaluation.from_json((directory / keys.EVALUATION_FILE).read_bytes())


def print_summary(console: Console, results: dict[str, NodeResult], serving_dir: str, user_id: str | None) -> None:
    """Print the summary of a finished run.

    Args:
      console: Where to print.
      results: Component name -> result.
      serving_dir: Path or URI of the served versions.
      user_id: The user to recommend to; the first known one by default.
    """
    _print_data(console, read_summary(results[_EXAMPLE_GEN].artifacts["examples"]))
    evaluation_uri = results[_GATE].artifacts["evaluation"].uri
    evaluation = evaluation_of(results)
    show(console, metrics_table(evaluation))
    console.print(f"Report  {os.path.relpath(evaluation_uri)}/{keys.REPORT_FILE}", soft_wrap=True)
    refused = "" if evaluation.blessed else "The model was refused, see above; "
    try:
        recommender = Recommender.load(serving_dir)
    except ValueError as error:  # Nothing was ever pushed: the first model was refused.
        console.print(f"{refused}{error}", soft_wrap=True)
        return
    version = f"version {recommender.model_version} under {serving_dir}"
    console.print(f"{refused}{version} stays served" if refused else f"Serving {version}", soft_wrap=True)
    try:
        recommender.profile(user_id if user_id is not None else recommender.user_ids[:1].tolist()[0])
    except UnknownIdError as error:
        console.print(str(error), soft_wrap=True)
        return
    print_recommendations(console, recommender, user_id, n=min(_MOVIES, recommender.movies.height))


def _print_data(console: Console, data: dict[str, Any]) -> None:
    console.print(
        f"\nData    {data['train'] + data['eval']:,} ratings ({data['train']:,} train, {data['eval']:,} eval), "
        f"{data['users']:,} users, {data['movies']:,} movies, {data['years_imputed']:,} of them without a year",
        soft_wrap=True,
    )
    if data.get("hold_one"):
        console.print(
            "        nobody has ratings enough to hold a share of them out: each user's last one is held out",
            soft_wrap=True,
        )
    if not data.get("timed", True):
        console.print(
            "        ratings have no time: what is held out is drawn at random, and time is no feature", soft_wrap=True
        )
    bad = ", ".join(f"{count:,} {problem}" for problem, count in data["bad_rows"].items())
    console.print(f"        bad rows dropped: {bad or 'none'}", soft_wrap=True)


def per_user(evaluation: pathlib.Path) -> pl.DataFrame:
    """Read what an evaluation measured, user by user.

    Raises:
      ValueError: It is not there.
    """
    file = evaluation / keys.PER_USER_FILE
    if not file.exists():
        raise ValueError(f"no {keys.PER_USER_FILE} in {evaluation}; pass the directory of an evaluation, which has one")
    return pl.read_parquet(file)


def difference_table(found: Sequence[Difference]) -> Table:
    """Lay two models' metrics beside each other."""
    table = Table(title="On the same held-out ratings", title_justify="left")
    for name in ("", "this model", "the other", "difference", "95 % interval", "users"):
        table.add_column(name, justify="right" if name else "left")
    for each in found:
        interval = f"{each.low:+.4f} to {each.high:+.4f}"
        values = (f"{each.ours:.4f}", f"{each.theirs:.4f}", f"{each.ours - each.theirs:+.4f}", interval)
        table.add_row(each.metric, *values, f"{each.users:,}")
    return table


def metrics_table(evaluation: Evaluation) -> Table:
    """Lay the model's metrics beside the baselines' and the served model's."""
    rows: dict[str, BaseModel] = {"this model": evaluation.model, **evaluation.baselines}
    if evaluation.comparison:
        rows[f"served {evaluation.served_version}"] = evaluation.comparison.served
    table = Table(title="Held-out ratings", title_justify="left")
    table.add_column("")
    columns = {"rmse": "RMSE", "mae": "MAE", "recall": "recall@10", "ndcg": "NDCG@10"}
    columns |= {name: name for name in ("coverage", "famous")}
    for title in columns.values():
        table.add_column(title, justify="right")
    for name, measured in rows.items():
        values = dict(measured)
        table.add_row(name, *(f"{values[key]:.4f}" if key in values else "-" for key in columns))
    return table

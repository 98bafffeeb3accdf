"""What each input and each part of the loss is worth: the default configuration with one of them off.

    python -m benchmarks.ablation --data DIR --output OUTPUT --results FILE [--seeds 3]

OUTPUT is that of a finished `matinee run` on the train ratings of the split (benchmarks/quality.py --work keeps them).
Its examples and transform are used again; every model is trained in this process, and measured on the held-out ratings
as serving would answer, from everything that is known of a user, and from their latest three ratings alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import pathlib
import typing
import unittest.mock
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import rich.box
import tensorflow as tf
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import heldout
from benchmarks.protocols import few_latest
from benchmarks.training import train_data_of
from components import dataset
from components.embedding import movie_inputs
from components.evaluation_gate.evaluate import Model, evaluate
from components.trainer.config import TrainerConfig
from components.trainer.histories import HistoryTable
from components.trainer.losses import Negatives
from components.trainer.tower_inputs import TowerInputs
from components.trainer.towers import Tower
from components.trainer.train_data import TrainData
from components.trainer.training import train
from components.trainer.two_tower import TwoTower
from pipeline import cores
from schemas import features as f
from schemas.vectors import Vectors


@dataclasses.dataclass(frozen=True)
class Variant:
    """The default with something off."""

    name: str
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the Trainer's configuration."""
    zeroed: Sequence[str] = ()
    """Inputs that are zero for every row."""
    log_q: bool = True
    """Whether the softmax corrects for how often a movie is drawn."""


_DEFAULT = Variant("default")
_WITHOUT_REFIT = "without the refit on eval ratings"
"""No training of its own: it is where the default's refit begins."""
_WEIGHTS = ("co_rating_weight", "genre_weight", "popularity_weight", "new_user_popularity_weight")
_STATISTICS = [name for name in f.USER_INPUTS if name != f.USER_TIME]

VARIANTS = (
    _DEFAULT,
    Variant("without histories", zeroed=[f.USER_HISTORY_RATINGS]),
    Variant("without histories and movie ids", {"id_dim": 0}),
    Variant("without time", zeroed=[f.USER_TIME]),
    Variant("without the user's statistics", zeroed=_STATISTICS),
    Variant(
        "without the user's derived statistics", zeroed=[name for name in _STATISTICS if name not in f.USER_FEATURES]
    ),
    Variant("without the movie's ratings", zeroed=[f.MOVIE_NUM_RATINGS, f.MOVIE_AVERAGE_RATING]),
    Variant("without genres and year", zeroed=[f.MOVIE_GENRES, f.MOVIE_YEAR]),
    Variant("without the softmax", {"retrieval_weight": 0.0}),
    Variant("softmax without uniform negatives", {"uniform_share": 0.0}),
    Variant("softmax with uniform negatives alone", {"uniform_share": 1.0}),
    Variant("softmax without logQ", log_q=False),
    Variant("softmax of liked and disliked alike", {"unliked_share": 1.0}),
    Variant("without thinned histories", {"thinned_share": 0.0}),
    Variant("ranking without co-ratings", {"co_rating_weight": 0.0}),
    Variant("ranking without genres and dislikes of them", {"genre_weight": 0.0}),
    Variant("ranking without popularity's weight against it", {"popularity_weight": 0.0}),
    Variant("ranking without that for somebody new", {"new_user_popularity_weight": 0.0}),
    Variant("ranking by the learned part alone", dict.fromkeys(_WEIGHTS, 0.0)),
    Variant("without dropout of ids", {"id_dropout": 0.0}),
    Variant("without dropout of hidden activations", {"dropout": 0.0}),
    Variant("without moving average", {"ema_momentum": 0.0}),
)


def known_ratings(held: heldout.HeldOut, data: dataset.Dataset) -> dataset.Dataset:
    """Return the split as a data set whose train ratings are all that the pipeline was given."""
    return dataclasses.replace(
        data,
        user_ids=held.user_ids,
        timestamp=held.timestamp,
        user=held.user.astype(np.int32),
        movie=held.movie.astype(np.int32),
        stars=held.stars.astype(np.float32),
        train=held.train,
    )


def model_of(model: TwoTower, inputs: Callable, data: dataset.Dataset) -> Model:
    """Return a model in memory as evaluation takes it."""

    def embed(tower: Tower, raw: Mapping[str, np.ndarray]) -> Vectors:
        outputs = tower(inputs({name: tf.constant(value) for name, value in raw.items()}))
        return Vectors(outputs[tower.EMBEDDING].numpy(), outputs[tower.RATING_VECTOR].numpy())

    movies = embed(model.movie_tower, movie_inputs(data.catalog))
    return Model(functools.partial(embed, model.user_tower), movies, data.constants)


def without(data: TrainData, zeroed: Sequence[str]) -> TrainData:
    """Return the training data with some inputs zero."""

    def zero(function: Callable) -> Callable:
        def zeroing(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            outputs = dict(function(features))
            return outputs | {name: tf.zeros_like(outputs[name]) for name in zeroed if name in outputs}

        return zeroing

    tables: dict[str, Any] = {}
    if f.USER_HISTORY_RATINGS in zeroed:

        def unrated(table: HistoryTable) -> HistoryTable:
            return dataclasses.replace(table, steps=np.zeros_like(table.steps))

        tables = {"histories": unrated(data.histories), "load_all": lambda: unrated(data.load_all())}
    inputs = typing.cast(TowerInputs, zero(data.inputs))  # What an export would need is not asked for.
    return dataclasses.replace(data, transform=zero(data.transform), inputs=inputs, **tables)


def without_log_q() -> contextlib.AbstractContextManager:
    """Take the correction for how often a movie is drawn out of the softmax."""
    return unittest.mock.patch.object(Negatives, "log_q", lambda self, count: tf.zeros_like(count))


def main(
    data: Annotated[pathlib.Path, typer.Option(help="MovieLens directory.")],
    output: Annotated[pathlib.Path, typer.Option(help="Output of a run on the train ratings of its split.")],
    results: Annotated[pathlib.Path, typer.Option(help="JSON file of the results; what it has is not trained again.")],
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 3,
    only: Annotated[str, typer.Option(help="Variants whose name contains this.")] = "",
) -> None:
    """Train every variant with every seed, and print the ablation table as Markdown."""
    cores.share_out()  # As the command does.
    train_data = train_data_of(output)
    latest = few_latest(heldout.read(data))
    known, few = (known_ratings(held, train_data.ranking) for held in (latest.fitted, latest.asked["latest 3"]))
    found = json.loads(results.read_text()) if results.exists() else {}
    log = Console(stderr=True)
    for seed, variant in itertools.product(map(str, range(seeds)), VARIANTS):
        if only in variant.name and seed not in found.get(variant.name, {}):
            data_of_variant = without(train_data, variant.zeroed)
            with contextlib.nullcontext() if variant.log_q else without_log_q():
                trained = train(TrainerConfig(**variant.config, seed=int(seed)), data_of_variant)
            models = {variant.name: trained.published}
            if variant is _DEFAULT:
                models[_WITHOUT_REFIT] = trained.evaluated
            for name, model in models.items():
                of_all, of_few = (
                    evaluate([split], model_of(model, data_of_variant.inputs, split), len(split.stars)).model
                    for split in (known, few)
                )
                numbers = found.setdefault(name, {})[seed] = [
                    *(of_all.rmse, of_all.recall, of_all.ndcg, of_all.famous),
                    *(of_few.rmse, of_few.ndcg, len(trained.history["loss"])),
                ]
                log.print(name, seed, numbers)
            results.write_text(json.dumps(found, indent=1))
    names = [variant.name for variant in VARIANTS]
    Console(width=200).print(
        table_of({name: list(found[name].values()) for name in (*names, _WITHOUT_REFIT) if name in found})
    )


def table_of(found: dict[str, list[list[float]]]) -> Table:
    """Lay out mean and standard deviation over the seeds of every variant."""
    table = Table(box=rich.box.MARKDOWN)
    few = ("RMSE, three ratings", "NDCG@10, three ratings")
    for column in ("", "RMSE", "recall@10", "NDCG@10", "famous", *few, "epochs"):
        table.add_column(column, no_wrap=True)
    for name, values in found.items():
        *means, epochs = np.mean(values, axis=0)
        spreads = np.std(values, axis=0)
        table.add_row(name, *(f"{a:.4f} ± {b:.4f}" for a, b in zip(means, spreads, strict=False)), f"{epochs:.0f}")
    return table


if __name__ == "__main__":
    typer.run(main)

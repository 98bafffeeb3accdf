"""Going on from a model: what becomes of its state, and when a training from the start is due."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.embedding import movie_inputs
from components.trainer.config import TrainerConfig
from components.trainer.state import Base, TrainingState
from components.trainer.tower_inputs import TowerInputs
from components.trainer.train_data import TrainData
from schemas import features as f


def state_of(config: TrainerConfig, data: TrainData, base: Base | None, transform_dir: str) -> TrainingState:
    """Return the state of a model that has been trained.

    Args:
      config: How it was trained.
      data: On what.
      base: What the training went on from.
      transform_dir: What Transform has learned of today's ratings.
    """
    known = tuple(data.vocabulary.tolist())
    found = TrainingState(config, data.domain, known, data.ranking.constants.latest_s, int(time.time()))
    if base is None:
        return found
    return dataclasses.replace(
        found,
        trained_s=base.state.trained_s,
        new_movies=len(known) - _known(base),
        continued=base.state.continued + 1,
        due=_why_due(config, data, base, transform_dir),
    )


def _known(base: Base) -> int:
    """Return how many movies the last training from the start knew."""
    return len(base.state.vocabulary) - base.state.new_movies


def _why_due(config: TrainerConfig, data: TrainData, base: Base, transform_dir: str) -> str:
    """Say why a training from the start is due; empty if it is not."""
    new = float(np.mean(data.histories.movies > _known(base)))
    if new > config.max_new_movie_share:
        return f"{new:.1%} of the train ratings are of movies that came after the last one"
    name, distance = _drift(data, TowerInputs(tft.TFTransformOutput(transform_dir), data.vocabulary))
    if distance > config.max_drift:
        return f"{name} has drifted by {distance:.2f} standard deviations"
    return ""


def _drift(data: TrainData, own: TowerInputs) -> tuple[str, float]:
    """Return the feature that differs most between the standardisation in use and today's, and how much.

    It is the mean distance over eval users, or movies of the catalogue, in standard deviations.
    """
    distances: dict[str, float] = {}
    for raw, names in (
        (data.ranking.user_tower_inputs(slice(None)), f.USER_INPUTS),
        (movie_inputs(data.ranking.catalog), f.MOVIE_INPUTS),
    ):
        tensors = {name: tf.constant(values) for name, values in raw.items()}
        old, new = (inputs(tensors) for inputs in (data.inputs, own))
        distances |= {name: float(tf.reduce_mean(tf.abs(old[name] - new[name]))) for name in names}
    return max(distances.items(), key=lambda item: item[1])

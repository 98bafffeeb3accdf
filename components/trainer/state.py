"""What a later training goes on from: a model's weights, what they mean, and when they were trained."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import tensorflow as tf
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from components.files import copy_tree
from components.trainer.config import TrainerConfig
from components.trainer.two_tower import TwoTower
from schemas.configuration import FROZEN
from schemas.domain import Domain

_FOLDER = "assets.extra"
"""Of a SavedModel, where TensorFlow lets others put files."""
_STATE_FILE, _TRANSFORM_DIR = "training.json", "transform"
_SHAPING = ("hidden_units", "embedding_dim", "id_dim", "co_rating_dim")
"""Fields of the configuration that the shapes of the weights follow from."""


@dataclass(frozen=True, config=FROZEN)
class TrainingState:
    """What is known of a model beside its weights."""

    config: TrainerConfig
    """How it was trained."""
    domain: Domain
    """What the data set is about."""
    vocabulary: tuple[int, ...]
    """The ids of the movies that have an embedding of their own, in the order of the weights."""
    latest_s: int
    """Time of the latest train rating that it has seen, Unix seconds."""
    trained_s: int
    """Unix time of the last training from the start."""
    new_movies: int = 0
    """How many of the vocabulary have come since; they are its last ones."""
    continued: int = 0
    """How many times training has gone on since."""
    due: str = ""
    """Why a training from the start is due; empty if it is not."""

    def misfit(self, config: TrainerConfig) -> str:
        """Say why a training with another configuration cannot go on from this model; empty if it can."""
        for name in _SHAPING:
            if getattr(self.config, name) != getattr(config, name):
                return f"{name} was {getattr(self.config, name)} and is {getattr(config, name)}"
        if bool(self.config.retrieval_weight) != bool(config.retrieval_weight):
            return f"retrieval_weight was {self.config.retrieval_weight:g} and is {config.retrieval_weight:g}"
        return ""


@dataclasses.dataclass(frozen=True)
class Base:
    """A model that training goes on from."""

    directory: str
    """Of its SavedModel."""
    state: TrainingState

    @property
    def transform_dir(self) -> str:
        """What `TFTransformOutput` takes."""
        return f"{self.directory}/{_FOLDER}/{_TRANSFORM_DIR}"

    def vocabulary(self, found: np.ndarray) -> np.ndarray:
        """Return its vocabulary and what is new of another, `[movies]` int64."""
        known = np.array(self.state.vocabulary, np.int64)
        return np.concatenate([known, found[~np.isin(found, known)]])

    def give_weights(self, model: TwoTower) -> None:
        """Give a model its weights; what a table has more of starts as the unknown movie, its first row."""
        reader = tf.train.load_checkpoint(f"{self.directory}/variables/variables")
        # In the order in which an export saves them, random generators' among them.
        place = {id(variable): number for number, variable in enumerate(model.variables)}
        values = []
        for weight in model.weights:
            value = reader.get_tensor(f"model_variables/{place[id(weight)]}/.ATTRIBUTES/VARIABLE_VALUE")
            if value.shape != weight.shape:
                new = np.repeat(value[:1], weight.shape[0] - len(value), axis=0)
                value = np.concatenate([value, new])
            values.append(value)
        model.set_weights(values)


def write(saved_model: str, state: TrainingState, transform_dir: str) -> None:
    """Put a state, and the transform that belongs to it, into the directory of a SavedModel.

    Args:
      saved_model: The directory.
      state: What to write.
      transform_dir: Directory of the TransformGraph artifact.
    """
    folder = f"{saved_model}/{_FOLDER}"
    copy_tree(transform_dir, f"{folder}/{_TRANSFORM_DIR}")
    with tf.io.gfile.GFile(f"{folder}/{_STATE_FILE}", "w") as file:
        file.write(json.dumps(TypeAdapter(TrainingState).dump_python(state, mode="json")))


def read(saved_model: str) -> Base | None:
    """Read the state of a SavedModel; None where it has none.

    Raises:
      ValueError: It is of another version of this code.
    """
    path = f"{saved_model}/{_FOLDER}/{_STATE_FILE}"
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return Base(saved_model, TypeAdapter(TrainingState).validate_json(file.read()))

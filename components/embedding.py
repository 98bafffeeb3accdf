"""Embeddings from the exported model, through its signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf

from schemas import features as f
from schemas import signatures as s
from schemas.manifest import USER_TOWER_FILE
from schemas.vectors import Vectors, column_array

_BATCH = 1024


def movie_inputs(catalog: pl.DataFrame) -> dict[str, np.ndarray]:
    """Return the movie tower's raw inputs: `movie_id` `[movies, 1]` int64, the others `[movies, n]` float32."""
    arrays = {name: column_array(catalog[name]) for name in (f.MOVIE_ID, *f.MOVIE_FEATURES)}
    return {name: array.reshape(catalog.height, *(array.shape[1:] or (1,))) for name, array in arrays.items()}


def embed_users(model: Any, features: Mapping[str, np.ndarray]) -> Vectors:
    """Embed users with a loaded model or user tower.

    Args:
      model: SavedModel with the signature `embed_user`.
      features: `schemas.features.USER_TOWER_INPUTS`, one row a user.
    """
    return _run(model.signatures[s.EMBED_USER], features, s.USER_EMBEDDING, s.USER_RATING_VECTOR)


def embed_movies(model: Any, catalog: pl.DataFrame) -> Vectors:
    """Embed every movie of a catalogue with a loaded model or movie tower; its signature is `embed_movie`."""
    return _run(model.signatures[s.EMBED_MOVIE], movie_inputs(catalog), s.MOVIE_EMBEDDING, s.MOVIE_RATING_VECTOR)


def _run(
    signature: Callable[..., dict[str, tf.Tensor]],
    features: Mapping[str, np.ndarray],
    embedding: str,
    rating_vector: str,
) -> Vectors:
    rows = len(next(iter(features.values())))
    parts = []
    for begin in range(0, max(rows, 1), _BATCH):
        answer = signature(**{name: tf.constant(value[begin : begin + _BATCH]) for name, value in features.items()})
        parts.append(Vectors(answer[embedding].numpy(), answer[rating_vector].numpy()))
    return Vectors.concatenate(parts)


class Towers:
    """Both towers of a Model artifact."""

    def __init__(self, model_uri: str, saved_model: str = s.PUBLISHED_DIR) -> None:
        """Load one of its SavedModels: `schemas.signatures.PUBLISHED_DIR` or `EVALUATED_DIR`."""
        self.user_tower_dir = f"{model_uri}/{s.USER_TOWER_DIR}"
        self.movie_tower_dir = f"{model_uri}/{s.MOVIE_TOWER_DIR}"
        self.evaluated_dir = f"{model_uri}/{s.EVALUATED_DIR}"
        self.user_tower_file = f"{model_uri}/{USER_TOWER_FILE}"
        self._model = tf.saved_model.load(f"{model_uri}/{saved_model}")

    def embed_users(self, features: Mapping[str, np.ndarray]) -> Vectors:
        """Embed users; see `embed_users`."""
        return embed_users(self._model, features)

    def embed_movies(self, catalog: pl.DataFrame) -> Vectors:
        """Embed every movie of a catalogue."""
        return embed_movies(self._model, catalog)

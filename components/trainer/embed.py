"""Embeddings from the exported model, through its signatures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import tensorflow as tf

from schemas import features as f
from schemas import signatures as s

_BATCH = 8192
_SERVING_DIR = "Format-Serving"


def movie_inputs(catalog: pl.DataFrame) -> dict[str, np.ndarray]:
    """Return the movie tower's raw inputs, `[movies, n]` float32 each."""
    inputs = {name: catalog[name].to_numpy()[:, None] for name, length in f.MOVIE_FEATURES.items() if length == 1}
    return inputs | {f.MOVIE_GENRES: catalog[f.MOVIE_GENRES].list.to_array(len(f.GENRES)).to_numpy()}


def run_signature(signature, features: Mapping[str, np.ndarray], output: str) -> np.ndarray:
    """Run a signature in batches."""
    rows = len(next(iter(features.values())))
    parts = []
    for begin in range(0, max(rows, 1), _BATCH):
        batch = {name: tf.constant(value[begin : begin + _BATCH], tf.float32) for name, value in features.items()}
        parts.append(signature(**batch)[output].numpy())
    return np.concatenate(parts)


class Towers:
    """Both towers of a Model artifact."""

    def __init__(self, model_uri: str) -> None:
        self.user_tower_dir = f"{model_uri}/{s.USER_TOWER_DIR}"
        self.movie_tower_dir = f"{model_uri}/{s.MOVIE_TOWER_DIR}"
        self._model = tf.saved_model.load(f"{model_uri}/{_SERVING_DIR}")

    def embed_users(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embed raw user features: `[users, dim]` float32, L2-normalised."""
        return run_signature(self._model.signatures[s.EMBED_USER], features, s.USER_EMBEDDING)

    def embed_movies(self, catalog: pl.DataFrame) -> np.ndarray:
        """Embed every movie of a catalogue: `[movies, dim]` float32, L2-normalised."""
        return run_signature(self._model.signatures[s.EMBED_MOVIE], movie_inputs(catalog), s.MOVIE_EMBEDDING)

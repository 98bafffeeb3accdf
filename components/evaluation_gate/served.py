"""The model that is served now, as evaluation sees it."""

from __future__ import annotations

import tempfile

import numpy as np
import tensorflow as tf

from components.dataset import Dataset
from components.evaluation_gate.evaluate import Embeddings
from components.pusher import index, store
from components.trainer.embed import embed_movies, embed_users
from schemas import features as f
from schemas import signatures as s
from schemas.manifest import EMBEDDING_INDEX, EVALUATED
from schemas.vectors import Vectors


def load(serving_root: str, data: Dataset) -> tuple[int, Embeddings] | None:
    """Embed the data set's users and movies with the served version, as it was before it learned its eval ratings.

    Args:
      serving_root: Path or URI of the served versions.
      data: The data set; the users' features come from its train ratings.

    Returns:
      The version and its embeddings, or None where nothing is served.

    Raises:
      RuntimeError: The served index is damaged.
    """
    serving = store.ServingStore(serving_root)
    version = serving.latest()
    if version is None:
        return None
    served = index.read_index(serving.directory(EMBEDDING_INDEX, version))
    with tempfile.TemporaryDirectory(prefix="matinee-") as directory:
        if served.manifest.has_model(EVALUATED):
            model = tf.saved_model.load(serving.local_copy(EMBEDDING_INDEX, version, directory, EVALUATED))
            vectors = embed_movies(model, served.movies)
        else:  # A version of before there were two models: what serves was evaluated.
            model, vectors = tf.saved_model.load(serving.local_copy(s.USER_TOWER, version, directory)), served.vectors
        inputs = map(served.manifest.taken, data.user_blocks(served.constants))
        users = Vectors.concatenate(embed_users(model, block) for block in inputs)
    ids, own = served.movies[f.MOVIE_ID].to_numpy(), data.catalog[f.MOVIE_ID].to_numpy()
    place = np.minimum(np.searchsorted(ids, own), len(ids) - 1)
    known = ids[place] == own
    movies = vectors[place]
    for side in (movies.embeddings, movies.rating_vectors):
        side[~known] = 0
    return version, Embeddings(users, movies, known)

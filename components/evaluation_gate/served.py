"""The model that is served now, as evaluation sees it."""

from __future__ import annotations

import tempfile

import numpy as np
import tensorflow as tf
from absl import logging

from components.dataset import Dataset
from components.embedding import embed_movies, embed_users
from components.evaluation_gate.evaluate import Embeddings
from schemas import features as f
from schemas.manifest import EMBEDDING_INDEX, EVALUATED, FormatError
from schemas.vectors import Vectors
from serving import index, store


def load(serving_dir: str, data: Dataset) -> tuple[int, Embeddings] | None:
    """Embed the data set's users and movies with the served version, as it was before it learned its eval ratings.

    Args:
      serving_dir: Path or URI of the served versions.
      data: The data set; the users' features come from its train ratings.

    Returns:
      The version and its embeddings, or None where nothing is served, or a version of another format: only to publish
      again helps there.

    Raises:
      RuntimeError: The served index is damaged.
    """
    serving = store.ServingStore(serving_dir)
    version = serving.latest()
    if version is None:
        return None
    try:
        served = index.read_index(serving.directory(EMBEDDING_INDEX, version))
    except FormatError as error:
        logging.warning("the candidate is not compared with what is served: %s", error)
        return None
    with tempfile.TemporaryDirectory(prefix="matinee-") as directory:
        model = tf.saved_model.load(serving.local_copy(EMBEDDING_INDEX, version, directory, EVALUATED))
        vectors = embed_movies(model, served.movies)
        users = Vectors.concatenate(embed_users(model, block) for block in data.user_blocks(served.constants))
    ids, own = served.movies[f.MOVIE_ID].to_numpy(), data.catalog[f.MOVIE_ID].to_numpy()
    place = np.minimum(np.searchsorted(ids, own), len(ids) - 1)
    known = ids[place] == own
    movies = vectors[place]
    for side in (movies.embeddings, movies.rating_vectors):
        side[~known] = 0
    return version, Embeddings(users, movies, known)

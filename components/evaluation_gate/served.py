"""The model that is served now, as evaluation sees it."""

from __future__ import annotations

import logging
import tempfile

import numpy as np
import tensorflow as tf

from components.dataset import Dataset
from components.embedding import embed_movies, embed_users
from components.evaluation_gate.evaluate import Embeddings
from schemas import features as f
from schemas.manifest import EMBEDDING_INDEX, EVALUATED
from schemas.vectors import Vectors
from serving import store
from serving.verification import newest_whole

_LOG = logging.getLogger(__name__)


def load(serving_dir: str, data: Dataset) -> tuple[int, Embeddings] | None:
    """Embed the data set's users and movies with the served version, as it was before it learned its eval ratings.

    A version that is damaged, of another format or of other categories counts as not served: to refuse every other one
    because of it would leave it for ever.

    Args:
      serving_dir: Path or URI of the served versions.
      data: The data set; the users' features come from its train ratings.

    Returns:
      The newest whole version and its embeddings, or None where there is none.
    """
    serving = store.ServingStore(serving_dir)
    found = newest_whole(serving)
    if found is None:
        return None
    version, served = found
    if served.manifest.domain.categories != data.constants.domain.categories:
        _LOG.warning("version %d is of other categories, which its towers take, and is not compared with", version)
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
    return version, Embeddings(users, movies, known, served.manifest.domain.scale)

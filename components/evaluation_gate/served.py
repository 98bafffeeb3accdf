"""The model that is served now, as evaluation sees it."""

from __future__ import annotations

import functools
import logging
import tempfile

import polars as pl
import tensorflow as tf

from components.embedding import embed_movies, embed_users
from components.evaluation_gate.evaluate import Model
from schemas import features as f
from schemas.domain import Domain
from schemas.ids import places_of
from schemas.manifest import EMBEDDING_INDEX, EVALUATED
from serving import store
from serving.verification import newest_whole

_LOG = logging.getLogger(__name__)


def load(serving_dir: str, catalog: pl.DataFrame, domain: Domain) -> tuple[int, Model] | None:
    """Load the served version's model as it was before it learned its eval ratings.

    A version that is damaged, of another format or of other categories counts as not served: to refuse every other one
    because of it would leave it for ever.

    Args:
      serving_dir: Path or URI of the served versions.
      catalog: The movies that it is asked about.
      domain: What the data set is about.

    Returns:
      The newest whole version and its model, or None where there is none.
    """
    serving = store.ServingStore(serving_dir)
    found = newest_whole(serving)
    if found is None:
        return None
    version, served = found
    if served.manifest.domain.categories != domain.categories:
        _LOG.warning("version %d is of other categories, which its towers take, and is not compared with", version)
        return None
    with tempfile.TemporaryDirectory(prefix="matinee-") as directory:
        model = tf.saved_model.load(serving.local_copy(EMBEDDING_INDEX, version, directory, EVALUATED))
    vectors = embed_movies(model, served.movies)
    place = places_of(catalog[f.MOVIE_ID].to_numpy(), served.movies[f.MOVIE_ID].to_numpy())
    known, movies = place >= 0, vectors[place]
    for side in (movies.embeddings, movies.rating_vectors):
        side[~known] = 0
    return version, Model(functools.partial(embed_users, model), movies, served.constants, known)

"""Similar movies: parts of a series, of the same genres, liked by the same users."""

import numpy as np
import polars as pl
import pytest

from components.similarity import similarity_vectors
from schemas import features as f
from schemas.data_spec import movielens
from schemas.histories import Histories
from schemas.ingest import TITLE

TITLES = (
    ["Jackal, The (1997)", "Jackal II: The Return (1999)", "Golden Fleece (1980)", "Golden Fleece, Part 2 (1983)"]
    + [f"Alone {word} (2000)" for word in ("north", "south", "east", "west")]
    + ["Unknown Thing (2020)", "(2021)"]
)
HORROR, DRAMA = movielens().categories.index("Horror"), movielens().categories.index("Drama")


@pytest.fixture(scope="module")
def vectors():
    """Users like movies 0 to 3 or 4 to 7; the last two movies nobody has rated, the very last has no genre either."""
    rng = np.random.default_rng(0)
    genres = np.zeros((10, movielens().num_categories), np.float32)
    genres[[0, 1, 4, 5, 8], HORROR] = genres[[2, 3, 6, 7], DRAMA] = 1
    movies = pl.DataFrame({TITLE: TITLES}).with_columns(pl.Series(f.MOVIE_GENRES, genres).cast(pl.List(pl.Float32)))
    rows = [
        (user, movie, 5.0 if rng.random() < 0.8 else 2.0, user)
        for user in range(60)
        for movie in (range(4) if user % 2 else range(4, 8))
    ]
    return similarity_vectors(movies, Histories.of(*map(np.array, zip(*rows, strict=True))))


def test_they_are_unit_vectors(vectors):
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_parts_of_a_series_find_each_other(vectors):
    cosines = vectors @ vectors.T - 2 * np.eye(10)
    assert cosines.argmax(axis=1)[:4].tolist() == [1, 0, 3, 2]


def test_genres_and_users_count_and_scores_spread(vectors):
    cosines = vectors @ vectors.T
    assert cosines[4, 5] > cosines[4, 6], "the same users, the same genre"
    assert cosines[0, 2] > cosines[0, 6], "the same users, neither title nor genre"
    assert cosines[8, 0] > cosines[8, 2], "a movie that nobody has rated is placed by its genre"
    assert cosines[:8, :8].min() < 0.2 < 0.6 < cosines[0, 1]


def test_a_movie_of_which_nothing_is_known_is_like_no_other(vectors):
    assert np.abs(vectors[9] @ vectors[:9].T).max() < 0.2

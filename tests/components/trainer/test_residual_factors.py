"""Factors of what averages and biases leave of the ratings."""

import numpy as np
import polars as pl
import pytest

from components.trainer import residual_factors
from components.trainer.histories import HistoryTable
from components.trainer.movie_averages import MovieAverages
from schemas import features as f

MOVIES = 40
VOCABULARY = np.arange(1, MOVIES + 1)
ORDER = f.USER_ID, f.TIMESTAMP, f.MOVIE_ID


def fit(rows):
    columns = {f.USER_ID: pl.Int64, f.MOVIE_ID: pl.Int64, f.RATING: pl.Float32, f.TIMESTAMP: pl.Int64}
    table = HistoryTable.of(pl.DataFrame(rows, columns, orient="row").sort(*ORDER), VOCABULARY)
    return residual_factors.fit(table, MovieAverages.fit(table))


def ratings(users=120, seed=0):
    """Everybody rates movies of both kinds; even users prefer the one, the others the other. Nobody rates movie 40."""
    rng = np.random.default_rng(seed)
    for user in range(users):
        for movie in rng.choice(MOVIES - 1, 12, False).tolist():
            prefers = user % 2 == (movie < 20)
            yield user, movie + 1, float(rng.choice([3.5, 4.0, 4.5] if prefers else [2.0, 2.5, 3.0])), 1


def test_movies_that_the_same_people_prefer_belong_together():
    found = fit(ratings())
    assert found.shape == (MOVIES + 1, residual_factors.DIM)
    assert found.dtype == np.float32
    products = found @ found.T
    assert products[1:20, 1:20].mean() > 0.3
    assert products[21:40, 21:40].mean() > 0.3
    assert products[1:20, 21:40].mean() < -0.3
    np.testing.assert_array_equal(found, fit(ratings()))


def test_they_are_as_long_as_there_are_ratings():
    lengths = np.linalg.norm(fit(ratings()), axis=1)
    assert (lengths[[0, MOVIES]] == 0).all(), "the unknown movie, and one without ratings"
    count = np.bincount([movie for _, movie, _, _ in ratings()], minlength=MOVIES + 1)
    np.testing.assert_allclose(lengths, np.sqrt(count / (count + 20)), atol=1e-4)


def test_of_a_movie_whose_only_rater_has_rated_nothing_else_nothing_is_said():
    found = fit([*ratings(), (500, MOVIES, 4.5, 1)])
    assert np.abs(found[MOVIES]).max() < 1e-3
    assert np.linalg.norm(found[1]) > 0.5


@pytest.mark.parametrize("rows", [[(1, 1, 3.0, 1)], [(1, 1, 3.0, 1), (2, 2, 3.0, 1)], [(1, 9999, 3.0, 1)]])
def test_of_next_to_no_ratings_nothing_is_said(rows):
    found = fit(rows)
    assert found.shape == (MOVIES + 1, residual_factors.DIM)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 1

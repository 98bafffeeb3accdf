"""Average ratings of movies without the biases of those who rated them."""

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from components.trainer.histories import HistoryTable
from components.trainer.movie_averages import MovieAverages
from schemas import features as f

VOCABULARY = np.arange(30, 20, -1)
ORDER = f.USER_ID, f.TIMESTAMP, f.MOVIE_ID


@pytest.fixture(scope="module")
def table():
    """Forty users: even ones rate everything a star lower; they alone rate movie 21, the others alone movie 22.

    Movie 99 is none of the vocabulary.
    """
    rows = [
        (user, movie, 4.0 - (user % 2 == 0) - 0.5 * (movie % 2), user)
        for user in range(40)
        for movie in (*range(23, 31), 21 + user % 2, 99)
    ]
    columns = (f.USER_ID, f.MOVIE_ID, f.RATING, f.TIMESTAMP)
    return HistoryTable.of(pl.DataFrame(rows, schema=columns, orient="row").sort(*ORDER), VOCABULARY)


@pytest.fixture(scope="module")
def averages(table):
    return MovieAverages.fit(table)


def token(movie):
    return 31 - movie


def test_who_rated_a_movie_does_not_count(averages):
    found = averages.of_movies
    assert found.dtype == np.float32
    assert found.shape == (11,)
    assert found[0] == pytest.approx(averages.mean)
    # Movie 21 has 2.5 of the critical ones and movie 22 has 4.0 of the others: 1.5 apart, of which 0.5 is the movies'.
    assert 0.3 < found[token(22)] - found[token(21)] < 0.75
    assert found[token(24)] - found[token(23)] == pytest.approx(0.5, abs=0.1)


def test_users_biases_are_shrunken(averages):
    assert averages.user_bias[1] - averages.user_bias[0] == pytest.approx(10 / 15, abs=0.1)


def test_a_rows_own_rating_is_left_out(table, averages):
    """The average is what a fit without the rating gives, but for the change of the user's bias."""
    tokens, stars = tf.constant([[token(23)], [0]]), tf.constant([[3.5], [4.0]])
    found = averages.without(tf.constant([1, 1]), tokens, stars).numpy()
    keep = ~((table.users_of_ratings == 1) & (table.movies == token(23)))
    rest = pl.DataFrame(
        {
            f.USER_ID: table.users_of_ratings[keep],
            f.MOVIE_ID: np.append(99, VOCABULARY)[table.movies[keep]],
            f.RATING: table.steps[keep] / 2,
            f.TIMESTAMP: table.timestamps[keep],
        }
    )
    refitted = MovieAverages.fit(HistoryTable.of(rest, VOCABULARY))
    np.testing.assert_allclose(found[:, 0], refitted.of_movies[[token(23), 0]], atol=2e-3)
    assert abs(found[0, 0] - averages.of_movies[token(23)]) > 2e-3

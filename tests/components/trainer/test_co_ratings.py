"""Factors of co-ratings: what they say of movies, and what of it a user has said themselves."""

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from components import factors
from components.trainer import co_ratings
from components.trainer.histories import HistoryTable
from schemas import features as f

MOVIES, DIM = 30, 6
VOCABULARY = np.arange(1, MOVIES + 1) * 10
ORDER = f.USER_ID, f.TIMESTAMP, f.MOVIE_ID


def table(seed=0, users=80):
    """Users of two groups, who like the first and the last half of the movies; movie 300 is liked by user 7 alone."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        half = VOCABULARY[:14] if user % 2 else VOCABULARY[14:-1]
        rows += [(user, int(movie), float(rng.choice([2.0, 4.0, 5.0])), 1) for movie in rng.choice(half, 6, False)]
    rows.append((7, 300, 5.0, 2))
    columns = {f.USER_ID: pl.Int64, f.MOVIE_ID: pl.Int64, f.RATING: pl.Float32, f.TIMESTAMP: pl.Int64}
    return HistoryTable.of(pl.DataFrame(rows, columns, orient="row").sort(*ORDER), VOCABULARY)


def test_movies_that_the_same_users_like_belong_together():
    found = co_ratings.fit(table(), DIM)
    products = found.liking @ found.liked.T
    assert products[1:15, 1:15].mean() > 10 * abs(products[1:15, 15:30].mean())
    assert not found.liking[0].any()
    assert not found.liked[0].any(), "the unknown movie"


def test_what_a_user_alone_has_said_is_taken_out_altogether():
    ratings = table()
    found = co_ratings.fit(ratings, DIM)
    movie, own = MOVIES, found.own[7] * found.user_weight[7]
    assert np.linalg.norm(found.liked[movie]) > 1e-3
    np.testing.assert_allclose(found.liked[movie] - found.liked_share * own, 0, atol=1e-4)
    np.testing.assert_allclose(found.liking[movie] - found.liking_share[movie] * own, 0, atol=1e-4)


def test_what_a_user_adds_is_nearly_what_is_missing_without_them():
    """Of the two factors that stand for the two groups: others are noise, which another user turns around."""
    everyone = table()
    found = co_ratings.fit(everyone, 2)
    user = 3
    rows = slice(*everyone.offsets[[user, user + 1]])
    liked = everyone.movies[rows][everyone.steps[rows] >= 8]
    frame = pl.DataFrame(
        {
            f.USER_ID: np.repeat(everyone.user_ids, np.diff(everyone.offsets)),
            f.MOVIE_ID: VOCABULARY[everyone.movies - 1],
            f.RATING: (everyone.steps / 2).astype(np.float32),
            f.TIMESTAMP: everyone.timestamps,
        }
    )
    rest = frame.filter(pl.col(f.USER_ID) != user)
    without = co_ratings.fit(HistoryTable.of(rest, VOCABULARY), 2).aligned_with(found.liked)
    own = found.own[user] * found.user_weight[user] * found.liked_share
    as_it_is, corrected = found.liked[liked], found.liked[liked] - own
    wanted = without.liked[liked]
    assert np.linalg.norm(corrected - wanted) < 0.7 * np.linalg.norm(as_it_is - wanted)


def test_aligned_factors_mean_the_same_and_say_the_same():
    first, second = co_ratings.fit(table(), DIM), co_ratings.fit(table(seed=1), DIM)
    aligned = second.aligned_with(first.liked)
    np.testing.assert_allclose(aligned.liking @ aligned.liked.T, second.liking @ second.liked.T, atol=1e-4)
    assert np.linalg.norm(aligned.liked - first.liked) < np.linalg.norm(second.liked - first.liked)


def test_what_begins_with_the_factors_of_nearly_the_same_ratings_ends_with_those_of_all(monkeypatch):
    """Of the two factors that stand for the two groups, and with a movie more than there were."""
    monkeypatch.setattr(factors, "_LARGE", 0)
    everyone = table()
    near = co_ratings.fit(table(users=72), 2).liked[:-1]
    found, exact = co_ratings.fit(everyone, 2, near), co_ratings.fit(everyone, 2).aligned_with(near)
    before = np.linalg.norm(near - exact.liked[:-1])
    assert np.linalg.norm(found.liked - exact.liked) < 0.3 * before
    assert found.liked[-1].any(), "the movie that came later"


@pytest.mark.parametrize("users", [1, 2, 3])
def test_of_hardly_any_users_there_are_few_factors_or_none(users):
    found = co_ratings.fit(table(users=users), DIM)
    assert found.liking.shape == found.liked.shape == (MOVIES + 1, DIM)
    assert np.isfinite(found.liking).all()
    assert not found.liking[:, users:].any()


def test_the_same_ratings_give_the_same_factors():
    np.testing.assert_array_equal(co_ratings.fit(table(), DIM).liked, co_ratings.fit(table(), DIM).liked)


@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_equal_singular_values_have_the_same_vectors_every_time(shape):
    """ARPACK has to go on from vectors that it draws."""
    matrix = sparse.csr_matrix(np.kron(np.eye(30), np.ones(shape)))
    values, vectors = factors.largest_singular_vectors(matrix, 20)
    np.testing.assert_allclose(values, 12**0.5)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(20), atol=1e-12)
    np.testing.assert_array_equal(factors.largest_singular_vectors(matrix, 20)[1], vectors)

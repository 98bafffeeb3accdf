import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import features as f
from schemas import user_features
from schemas.data_spec import movielens

GENRES = movielens().num_categories
CONSTANTS = user_features.FeatureConstants(3.4, tuple(3.0 + 0.05 * i for i in range(GENRES)), latest_s=900)


def brute_force_user(genres, ratings, constants, leave_out=None):
    """The design's formula, one rating and one genre at a time."""
    average, count = np.zeros(GENRES), np.zeros(GENRES)
    for g in range(GENRES):
        rows = [i for i in range(len(ratings)) if genres[i, g] and i != leave_out]
        k = constants.pseudo_ratings
        average[g] = (sum(ratings[i] for i in rows) + k * constants.genre_means[g]) / (len(rows) + k)
        count[g] = len(rows)
    return average, count


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 10), st.integers(0, 2**GENRES - 1)), min_size=1, max_size=30)
)
@settings(deadline=None, max_examples=60)
def test_user_features_equal_the_formula_and_leave_each_rating_out(rows):
    rows.sort(key=lambda row: row[0])
    user = np.array([row[0] for row in rows])
    ratings = np.array([row[1] / 2 for row in rows], np.float32)
    genres = np.array([[row[2] >> g & 1 for g in range(GENRES)] for row in rows], np.float32)
    offsets = np.searchsorted(user, np.arange(6))

    found = user_features.user_features(offsets, genres, ratings, CONSTANTS)
    rest = user_features.leave_one_out_user_features({n: v[user] for n, v in found.items()}, genres, ratings, CONSTANTS)
    average, count = found[f.USER_GENRE_RATING], found[f.USER_GENRE_COUNT]
    loo_average, loo_count = rest[f.USER_GENRE_RATING], rest[f.USER_GENRE_COUNT]
    assert tuple(found) == tuple(rest) == tuple(f.USER_FEATURES)

    for u in range(5):
        own = slice(offsets[u], offsets[u + 1])
        expected = brute_force_user(genres[own], ratings[own], CONSTANTS)
        np.testing.assert_allclose(average[u], expected[0], atol=1e-5)
        np.testing.assert_array_equal(count[u], expected[1])
    for i, u in enumerate(user):
        own = slice(offsets[u], offsets[u + 1])
        expected = brute_force_user(genres[own], ratings[own], CONSTANTS, leave_out=i - offsets[u])
        np.testing.assert_allclose(loo_average[i], expected[0], atol=1e-4)
        np.testing.assert_array_equal(loo_count[i], expected[1])


def test_a_user_without_ratings_gets_the_genre_means():
    found = user_features.user_features(
        np.array([0, 0]), np.zeros((0, GENRES), np.float32), np.zeros(0, np.float32), CONSTANTS
    )
    np.testing.assert_allclose(found[f.USER_GENRE_RATING][0], CONSTANTS.genre_means, rtol=1e-6)
    assert not found[f.USER_GENRE_COUNT].any()


def test_constants_need_every_genre():
    with pytest.raises(ValueError, match="genre_means has 2 values, expected 20"):
        user_features.FeatureConstants(3.0, (1.0, 2.0), latest_s=0)


def test_a_history_is_the_latest_ratings_first():
    offsets, movies = np.array([0, 3, 3, 4]), np.array([10, 20, 30, 40])
    found, stars = user_features.user_history(offsets, movies, np.array([1, 2, 3, 4.5]), length=2)
    assert found.tolist() == [[30, 20], [0, 0], [40, 0]]
    assert stars.tolist() == [[3, 2], [0, 0], [4.5, 0]]
    assert (found.dtype, stars.dtype) == (np.int64, np.float32)


def test_the_user_towers_inputs_of_nobody():
    inputs = user_features.no_ratings(CONSTANTS)
    assert tuple(inputs) == f.USER_TOWER_INPUTS
    assert inputs[f.USER_HISTORY_MOVIES].shape == inputs[f.USER_HISTORY_RATINGS].shape == (1, f.SERVED_HISTORY_LENGTH)
    assert not inputs[f.USER_HISTORY_RATINGS].any()
    assert inputs[f.TIMESTAMP].tolist() == [[900]]


def test_a_user_is_asked_about_at_the_time_of_their_latest_rating_or_of_all_of_them():
    found = user_features.latest_s(np.array([0, 2, 2, 3]), np.array([10, 20, 30]), CONSTANTS)
    assert found.tolist() == [20, 900, 30]

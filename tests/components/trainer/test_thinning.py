"""Thinned users: what training computes of them is what serving computes of a user with these ratings."""

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.thinning import Thinning
from schemas import features as f
from schemas.data_spec import movielens
from schemas.user_features import FeatureConstants, user_features

ROWS, LENGTH, MOVIES = 2_000, f.HISTORY_LENGTH + 1, 40
NUMBER = movielens().num_categories
CONSTANTS = FeatureConstants(3.5, tuple(3 + i / 100 for i in range(NUMBER)), latest_s=900)
RNG = np.random.default_rng(0)
GENRES = np.concatenate([np.zeros((1, NUMBER)), RNG.random((MOVIES, NUMBER)) < 0.15]).astype(np.float32)
TOKENS = RNG.integers(0, MOVIES + 1, (ROWS, LENGTH)).astype(np.int32)
STARS = (RNG.integers(1, 11, (ROWS, LENGTH)) / 2).astype(np.float32)
STARS[np.arange(LENGTH) >= RNG.integers(0, LENGTH + 1, (ROWS, 1))] = 0  # Users with fewer ratings, some with none.
RAW = {name: RNG.random((ROWS, NUMBER)).astype(np.float32) for name in f.USER_FEATURES} | {"other": np.ones(ROWS)}


def thin(share, seed=1):
    """Thin the rows; return the features and the ratings that are left."""
    thinning = Thinning(share, GENRES, CONSTANTS)
    drawn = thinning.draw(tf.constant(ROWS), tf.constant([seed, 7], tf.int64))
    raw, left = thinning(RAW, TOKENS, STARS, drawn)
    return {name: np.asarray(value) for name, value in raw.items()}, left.numpy()


def test_the_features_are_those_of_serving_for_the_ratings_that_are_left():
    raw, left = thin(1.0)
    kept = left > 0
    offsets = np.append(0, np.cumsum(kept.sum(axis=1)))
    expected = user_features(offsets, GENRES[TOKENS[kept]], left[kept], CONSTANTS)
    for name in f.USER_FEATURES:
        np.testing.assert_allclose(raw[name], expected[name], rtol=1e-5)
    assert raw["other"] is RAW["other"]


def test_the_latest_ratings_stay_and_none_is_changed():
    _, left = thin(1.0)
    assert (np.diff((left > 0).astype(int), axis=1) <= 0).all()
    assert set(np.unique(left - STARS * (left > 0))) == {0.0}
    number, before = (left > 0).sum(axis=1), (STARS > 0).sum(axis=1)
    long = before >= 40
    # Drawn log-uniformly from 1 to 50: half of the users keep seven or fewer.
    assert 5 < np.median(number[long]) < 9
    assert (number[long] <= 2).mean() > 0.1
    assert (number[long] >= 30).mean() > 0.08


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_of_the_rows_is_thinned_and_the_others_are_as_they_were(share):
    raw, left = thin(share)
    same = (left == STARS).all(axis=1) & (raw[f.USER_GENRE_COUNT] == RAW[f.USER_GENRE_COUNT]).all(axis=1)
    assert same.mean() == pytest.approx(1 - share, abs=0.04)
    for name in f.USER_FEATURES:
        assert (raw[name][same] == RAW[name][same]).all()


def test_some_of_the_thinned_are_shown_with_their_first_ratings_and_some_with_those_of_any_time_before():
    drawn = Thinning(0.5, GENRES, CONSTANTS).draw(tf.constant(ROWS), tf.constant([3, 7], tf.int64))
    first, thinned = drawn.first.numpy(), drawn.thinned.numpy()
    assert (thinned | ~first).all()
    assert first.sum() / thinned.sum() == pytest.approx(0.2, abs=0.03)
    part = drawn.part.numpy()
    earlier = part < 1
    assert (thinned | ~earlier).all()
    assert not (first & earlier).any()
    assert earlier.sum() / thinned.sum() == pytest.approx(0.3, abs=0.03)
    assert part.min() > 0
    assert np.quantile(part[earlier], [0.25, 0.75]) == pytest.approx([0.25, 0.75], abs=0.06)


def test_the_seeds_say_which():
    assert (thin(0.5, seed=1)[1] == thin(0.5, seed=1)[1]).all()
    assert (thin(0.5, seed=1)[1] != thin(0.5, seed=2)[1]).any()

import numpy as np
import pytest
import tensorflow as tf

from schemas import features as f
from schemas.data_spec import movielens
from tests.exported import analyse


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    rows = []
    for i in range(200):
        row = {
            name: rng.uniform(0.5, 5, n).astype(np.float32)
            for name, n in f.example_lengths(movielens().num_categories).items()
        }
        row[f.USER_GENRE_COUNT] = rng.integers(0, 50, 20).astype(np.float32) * (i > 0)
        row[f.MOVIE_NUM_RATINGS] = rng.integers(0, 300, 1).astype(np.float32)
        row[f.MOVIE_GENRES] = (rng.random(20) < 0.2).astype(np.float32)
        row[f.MOVIE_ID] = np.array([i])
        row[f.TIMESTAMP] = np.array([1_000_000_000 + 86_400 * i])
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def layer(rows, tmp_path_factory):
    return analyse(rows, tmp_path_factory.mktemp("transform")).transform_features_layer()


@pytest.fixture(scope="module")
def transformed(layer, rows):
    raw = {name: tf.constant(np.stack([row[name] for row in rows])) for name in rows[0]}
    return {name: value.numpy() for name, value in layer(raw).items()}


def test_the_label_is_the_rating_scaled_to_one(rows, transformed):
    stars = np.stack([row[f.RATING] for row in rows])
    np.testing.assert_allclose(transformed[f.LABEL], (stars - 2.75) / 2.25, rtol=1e-5)
    assert f.to_label(0.5) == -1
    assert f.to_label(5.0) == 1
    average = np.stack([row[f.MOVIE_AVERAGE_RATING] for row in rows])
    np.testing.assert_allclose(transformed[f.MOVIE_SCALED_AVERAGE], f.to_label(average), rtol=1e-5)
    assert f.to_stars(f.to_label(3.5) / f.RATING_REACH) == 3.5


def z(values):
    return (values - values.mean(0)) / values.std(0)


def test_means_and_years_are_z_scores_and_counts_of_logarithms(rows, transformed):
    stacked = {name: np.stack([row[name] for row in rows]) for name in f.example_lengths(movielens().num_categories)}
    for name in (f.USER_GENRE_RATING, f.MOVIE_AVERAGE_RATING, f.MOVIE_YEAR):
        np.testing.assert_allclose(transformed[name], z(stacked[name]), atol=1e-3)
    for name in (f.USER_GENRE_COUNT, f.MOVIE_NUM_RATINGS):
        np.testing.assert_allclose(transformed[name], z(np.log1p(stacked[name])), atol=1e-3)
    np.testing.assert_array_equal(transformed[f.MOVIE_GENRES], stacked[f.MOVIE_GENRES])
    np.testing.assert_allclose(transformed[f.MOVIE_LOG_COUNT], np.log1p(stacked[f.MOVIE_NUM_RATINGS]), rtol=1e-5)


def test_derived_user_inputs(rows, transformed):
    rating = np.stack([row[f.USER_GENRE_RATING] for row in rows])
    count = np.stack([row[f.USER_GENRE_COUNT] for row in rows])
    total = count.sum(1, keepdims=True)
    average = (rating * count).sum(1, keepdims=True) / np.maximum(total, 1)
    average[0] = rating[0].mean()  # The first user has rated nothing.
    np.testing.assert_allclose(transformed[f.USER_GENRE_SHARE], z(count / np.maximum(total, 1)), atol=1e-3)
    np.testing.assert_allclose(transformed[f.USER_AVERAGE_RATING], z(average), atol=1e-3)
    np.testing.assert_allclose(transformed[f.USER_GENRE_PREFERENCE], z(rating - average), atol=1e-3)
    np.testing.assert_allclose(transformed[f.USER_ACTIVITY], z(np.log1p(total)), atol=1e-3)
    assert all(np.isfinite(value).all() for value in transformed.values())


def test_a_time_is_between_two_points_and_beyond_the_last_it_stays_there(rows, transformed):
    weights, points = transformed[f.USER_TIME], np.linspace(-2, 2, 33)
    times = np.stack([row[f.TIMESTAMP] for row in rows]).astype(float)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert ((weights > 0).sum(1) <= 2).all()
    np.testing.assert_allclose(weights @ points, z(times)[:, 0], atol=1e-3)


def test_times_outside_of_those_of_training_are_the_ends(layer, rows):
    raw = {name: tf.constant(np.stack([row[name] for row in rows[:2]])) for name in rows[0]}
    weights = layer(raw | {f.TIMESTAMP: tf.constant([[0], [2**40]], tf.int64)})[f.USER_TIME].numpy()
    assert weights[0].argmax() == 0
    assert weights[1].argmax() == 32
    np.testing.assert_array_equal(weights.max(1), 1)

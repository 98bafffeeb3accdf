"""What a history's ratings let expect of other movies."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

from schemas.data_spec import movielens
from schemas.numpy_tower import OPS
from schemas.tastes import Tastes

TASTES, MOVIES, DIM, RESIDUALS = Tastes(OPS, movielens()), 9, 4, 2


@pytest.fixture
def movies():
    rng = np.random.default_rng(0)
    genres = (rng.random((MOVIES, movielens().num_categories)) < 0.2).astype(np.float32)
    genres[0] = 0
    shares = rng.random(movielens().num_categories).astype(np.float32) * 0.4
    residuals = rng.uniform(-0.5, 0.5, (MOVIES, RESIDUALS))
    factors = TASTES.factor_direction(rng.normal(size=(MOVIES, DIM)), residuals)
    directions = TASTES.genre_direction(genres, shares), factors
    return rng.uniform(3, 4, MOVIES), *(values.astype(np.float32) for values in directions)


def test_directions_are_of_length_one_or_zero(movies):
    _, genres, factors = movies
    np.testing.assert_allclose(np.linalg.norm(genres, axis=1), [0, *[1] * (MOVIES - 1)], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(factors[:, :DIM], axis=1), 1, atol=1e-6)


def test_what_the_ratings_leave_has_a_variance_of_its_own():
    residuals = np.array([[0.5, 0], [0.3, 0.4]])
    found = TASTES.factor_direction(np.zeros((2, DIM)), residuals)
    np.testing.assert_allclose(0.15 * found @ found.T, 0.1 * residuals @ residuals.T)


def test_it_is_the_mean_of_a_gaussian_process(movies):
    """As scikit-learn finds it for each user by themselves, at every movie."""
    averages, genres, factors = movies
    rng = np.random.default_rng(1)
    rated = np.array([rng.permutation(MOVIES)[:5] for _ in range(3)])
    stars = (rng.integers(1, 11, (3, 5)) / 2).astype(np.float32)
    stars[1, 2:] = 0  # Of two ratings alone.
    found = TASTES.leaning(stars, averages[rated].astype(np.float32), genres[rated], factors[rated], np.float32(0.2))
    assert found.dtype == np.float32
    expected = found[:, :1] + found[:, 1:] @ np.concatenate([genres, factors], axis=1).T
    for user in range(3):
        given = stars[user] > 0
        places, differences = rated[user][given], 2 * np.tanh((stars[user][given] - averages[rated[user][given]]) / 2)
        features = np.concatenate([np.sqrt(0.05) * genres, np.sqrt(0.15) * factors], axis=1)
        kernel = ConstantKernel(0.2, "fixed") + DotProduct(0.0, "fixed")
        process = GaussianProcessRegressor(kernel, alpha=0.9, optimizer=None)
        process.fit(features[places], differences)
        np.testing.assert_allclose(expected[user], process.predict(features), atol=1e-5)


@pytest.mark.parametrize(("variance", "prior"), [(0.1, 8), (0.8, 1)])
def test_a_bias_is_shrunken_by_how_little_users_differ(movies, variance, prior):
    _, genres, _ = movies
    bias = TASTES.bias(np.array([[4, 3.5, 0]], np.float32), np.full((1, 3), 3.0), genres[None, :3], variance)
    expected = 2 * (np.tanh(0.5) + np.tanh(0.25)) / (2 + prior)
    np.testing.assert_allclose(bias.of_user, [[expected]], atol=1e-6)


def test_nothing_is_expected_of_who_has_rated_nothing(movies):
    averages, genres, factors = movies
    found = TASTES.leaning(np.zeros((1, 2), np.float32), averages[None, :2], genres[None, :2], factors[None, :2], 0.1)
    np.testing.assert_array_equal(found, 0)
    nobody = TASTES.leaning(np.zeros((1, 0), np.float32), averages[None, :0], genres[None, :0], factors[None, :0], 0.1)
    np.testing.assert_array_equal(nobody, 0)


def test_what_everybody_likes_is_for_who_is_new_and_neither_dislikes_it_nor_keeps_to_a_genre():
    nothing = np.zeros((1, movielens().num_categories), np.float32)
    a_bit, one_sided = nothing.copy(), nothing.copy()
    a_bit[0, 3], one_sided[0, 3] = 0.2, 0.6

    def newness(ratings, affinity=nothing):
        return float(TASTES.newness(np.array([[*ratings, 0]], np.float32), affinity)[0, 0])

    assert newness([]) == 1
    assert newness([5]) > newness([5, 4, 3]) > newness([5] * 20) > newness([5] * 200) > 0
    assert newness([5, 4, 4]) == newness([3, 3, 3]) == newness([5, 5, 0.5])
    assert newness([5]) > newness([0.5]) > newness([0.5] * 5) == 0
    assert newness([5] * 3, a_bit) > 0.9 * newness([5] * 3)
    assert newness([5] * 3) > 20 * newness([5] * 3, one_sided) == 20 * newness([5] * 3, -one_sided) > 0

import numpy as np

from components.evaluation_gate import baselines
from schemas.evaluation import BIASES, GLOBAL_MEAN, POPULARITY


def test_biases_recover_an_additive_model():
    rng = np.random.default_rng(0)
    of_user, of_movie = rng.normal(0, 0.5, 30), rng.normal(0, 0.5, 40)
    user, movie = np.divmod(np.arange(1200), 40)
    stars = 3 + of_user[user] + of_movie[movie]
    mean, fitted_user, fitted_movie = baselines.biases(user, movie, stars, 30, 40)
    damped = [(stars - mean - fitted_movie[movie])[user == u].sum() / (40 + 5) for u in range(30)]
    np.testing.assert_allclose(fitted_user, damped, atol=1e-9)
    assert np.corrcoef(fitted_user, of_user)[0, 1] > 0.999


def test_each_baseline_predicts_or_ranks():
    user, movie = np.array([0, 0, 1]), np.array([2, 0, 2])
    fitted = {baseline.name: baseline for baseline in baselines.fit(user, movie, np.array([5.0, 3.0, 4.0]), 2, 3)}
    assert list(fitted) == [GLOBAL_MEAN, BIASES, POPULARITY]
    np.testing.assert_array_equal(fitted[GLOBAL_MEAN].predict(np.array([1, 0]), np.array([1, 1])), [4, 4])
    high, low = fitted[BIASES].predict(np.array([0, 0]), np.array([2, 0]))
    assert high > 4 > low
    np.testing.assert_array_equal(fitted[POPULARITY].scores(np.array([1, 0])), [[1, 0, 2], [1, 0, 2]])
    assert (fitted[POPULARITY].predict, fitted[GLOBAL_MEAN].scores) == (None, None)

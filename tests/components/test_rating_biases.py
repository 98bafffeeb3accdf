import numpy as np

from components import rating_biases


def test_biases_recover_an_additive_model():
    rng = np.random.default_rng(0)
    of_user, of_movie = rng.normal(0, 0.5, 30), rng.normal(0, 0.5, 40)
    user, movie = np.divmod(np.arange(1200), 40)
    stars = 3 + of_user[user] + of_movie[movie]
    mean, fitted_user, fitted_movie = rating_biases.fit(user, movie, stars, 30, 40)
    damped = [(stars - mean - fitted_movie[movie])[user == u].sum() / (40 + 5) for u in range(30)]
    np.testing.assert_allclose(fitted_user, damped, atol=1e-9)
    assert np.corrcoef(fitted_user, of_user)[0, 1] > 0.999

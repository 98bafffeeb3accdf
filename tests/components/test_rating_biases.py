import numpy as np
from scipy import sparse

from components import rating_biases


def test_biases_recover_an_additive_model():
    rng = np.random.default_rng(0)
    of_user, of_movie = rng.normal(0, 0.5, 30), rng.normal(0, 0.5, 40)
    user, movie = np.divmod(np.arange(1200), 40)
    stars = 3 + of_user[user] + of_movie[movie]
    mean, fitted_user, fitted_movie = rating_biases.fit([sparse.csr_matrix((stars, (user, movie)), (30, 40))])
    damped = [(stars - mean - fitted_movie[movie])[user == u].sum() / (40 + 5) for u in range(30)]
    np.testing.assert_allclose(fitted_user, damped, atol=1e-6)
    assert np.corrcoef(fitted_user, of_user)[0, 1] > 0.999


def test_blocks_of_users_make_no_difference_not_even_in_the_last_bit():
    rng = np.random.default_rng(1)
    rated = rng.random((50, 40)) < 0.3
    stars = np.where(rated, rng.uniform(0.5, 5, rated.shape), 0).astype(np.float32)
    order = rng.permutation(50)
    whole = rating_biases.fit([sparse.csr_matrix(stars)])
    blocks = rating_biases.fit([sparse.csr_matrix(stars[rows]) for rows in np.split(order, [3, 3, 20])])
    assert whole[0] == blocks[0]
    np.testing.assert_array_equal(whole[1][order], blocks[1])
    np.testing.assert_array_equal(whole[2], blocks[2])

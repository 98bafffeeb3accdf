import math

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.losses import UniformNegatives, sampled_softmax
from schemas import features as f


def loss(users, movies, ids, log_count, weight, temperature=0.5):
    arrays = [np.array(x, np.float32) for x in (users, movies)]
    return float(
        sampled_softmax(
            *arrays, np.array(ids), np.array(log_count, np.float32), np.array(weight, np.float32), temperature
        )
    )


def test_two_rows_by_hand():
    """Logits are cosine / 0.5 less the log count; the second row counts double."""
    users, movies = [[1, 0], [0.6, 0.8]], [[1, 0], [0, 1]]
    counts = [math.log(4), 0]
    first = [1 / 0.5 - math.log(4), 0 / 0.5 - 0]
    second = [0.6 / 0.5 - math.log(4), 0.8 / 0.5 - 0]
    expected = (
        1 * (math.log(sum(map(math.exp, first))) - first[0]) + 2 * (math.log(sum(map(math.exp, second))) - second[1])
    ) / 3
    assert loss(users, movies, [7, 8], counts, [1, 2]) == pytest.approx(expected, rel=1e-6)


def test_accidental_hits_are_left_out():
    """Another row with the same movie is no negative: the loss is that of the row alone against the third movie."""
    users, movies = [[1, 0], [1, 0], [0, 1]], [[1, 0], [1, 0], [0, 1]]
    expected = math.log(math.exp(2) + math.exp(0)) - 2
    assert loss(users, movies, [7, 7, 9], [0, 0, 0], [1, 1, 0]) == pytest.approx(expected, rel=1e-6)


def test_a_constant_in_the_log_count_cancels():
    rng = np.random.default_rng(0)
    users, movies = rng.normal(size=(2, 6, 4))
    counts, weight = rng.random(6), rng.random(6)
    assert loss(users, movies, range(6), counts, weight) == pytest.approx(
        loss(users, movies, range(6), counts + 11, weight), rel=1e-4
    )


def test_no_weight_is_no_loss():
    assert loss([[1, 0]], [[1, 0]], [1], [0], [0]) == 0


def test_other_candidates_join_the_softmax_and_the_own_movie_among_them_does_not():
    """One row, its own movie drawn again, and another movie: the loss is that against the other one alone."""
    expected = math.log(math.exp(2) + math.exp(0)) - 2
    assert loss([[1, 0]], [[1, 0], [1, 0], [0, 1]], [7, 7, 9], [0, 0, 0], [1]) == pytest.approx(expected, rel=1e-6)


def test_uniform_negatives_come_from_the_whole_catalogue_and_know_their_odds():
    counts = np.array([[0.0], [10.0], [30.0]])
    catalog = {f.MOVIE_ID: tf.constant([[5], [6], [7]]), f.MOVIE_LOG_COUNT: tf.constant(np.log1p(counts), tf.float32)}
    negatives = UniformNegatives(catalog, 3_000)
    tf.random.set_seed(1)
    drawn = negatives.draw()
    ids, numbers = np.unique(drawn[f.MOVIE_ID], return_counts=True)
    assert ids.tolist() == [5, 6, 7]
    assert (abs(numbers - 1_000) < 150).all()
    rated = np.expm1(drawn[f.MOVIE_LOG_COUNT][:, 0].numpy())
    np.testing.assert_allclose(rated, counts[drawn[f.MOVIE_ID][:, 0].numpy() - 5, 0], atol=1e-3)
    # Of 80 rows a movie with 10 of 40 ratings is expected 20 times, and 1,000 times among the 3,000.
    log_q = negatives.log_q(tf.constant([0.0, 10.0, 30.0]), 80.0)
    np.testing.assert_allclose(log_q, np.log([1_000, 1_020, 1_060]), rtol=1e-6)

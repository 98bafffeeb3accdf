import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer.losses import Candidates, Negatives, sampled_softmax
from schemas import features as f


def candidates(vectors, ids, log_q):
    return Candidates(np.array(vectors, np.float32), np.array(ids), np.array(log_q, np.float32))


def loss(users, own, negatives, temperature=0.5):
    users = np.array(users, np.float32).reshape(-1, 2)
    return float(sampled_softmax(users, candidates(*own), candidates(*negatives), temperature))


def test_two_rows_by_hand():
    """Logits are cosine / 0.5 less the log of the expected number."""
    own, negatives = ([[1, 0], [0, 1]], [7, 8], [math.log(4), 0]), ([[0, 1], [0.8, 0.6]], [1, 2], [math.log(2), 0])
    first = [1 / 0.5 - math.log(4), 0 / 0.5 - math.log(2), 0.8 / 0.5]
    second = [0.8 / 0.5, 0.8 / 0.5 - math.log(2), 0.96 / 0.5]
    expected = sum(math.log(sum(map(math.exp, row))) - row[0] for row in (first, second)) / 2
    assert loss([[1, 0], [0.6, 0.8]], own, negatives) == pytest.approx(expected, rel=1e-6)


def test_accidental_hits_are_left_out():
    """The row's own movie, drawn as a negative, is none: the loss is that against the other movie alone."""
    negatives = [[1, 0], [0, 1]], [7, 9], [0, 0]
    expected = math.log(math.exp(2) + math.exp(0)) - 2
    assert loss([[1, 0]], ([[1, 0]], [7], [0]), negatives) == pytest.approx(expected, rel=1e-6)


def test_a_constant_in_the_log_of_the_expected_number_cancels():
    rng = np.random.default_rng(0)
    users, own, others = rng.normal(size=(3, 6, 2))
    log_q = rng.random((2, 6))
    parts = (own, range(6)), (others, range(6, 12))
    plain, shifted = (
        loss(users, *((*part, q + shift) for part, q in zip(parts, log_q, strict=True))) for shift in (0, 11)
    )
    assert plain == pytest.approx(shifted, rel=1e-4)


def test_no_row_is_no_loss():
    nothing = np.zeros((0, 2)), np.zeros(0, int), []
    assert loss([], nothing, ([[1, 0]], [1], [0])) == 0


def test_negatives_come_from_the_whole_catalogue_and_know_their_odds():
    """Of 3,000 drawn movies a third is uniform over 3 movies, the others are in proportion to 0, 10 and 30 ratings."""
    counts = np.array([[0.0], [10.0], [30.0]])
    catalog = {f.MOVIE_ID: tf.constant([[5], [6], [7]]), f.MOVIE_LOG_COUNT: tf.constant(np.log1p(counts), tf.float32)}
    negatives = Negatives(catalog, 3_000, 1 / 3)
    expected = np.array([333.3, 833.3, 1833.3])
    drawn = negatives.draw(keras.random.SeedGenerator(3))
    ids, numbers = np.unique(drawn[f.MOVIE_ID], return_counts=True)
    assert ids.tolist() == [5, 6, 7]
    assert (abs(numbers - expected) < 100).all()
    rated = np.expm1(drawn[f.MOVIE_LOG_COUNT][:, 0].numpy())
    np.testing.assert_allclose(rated, counts[drawn[f.MOVIE_ID][:, 0].numpy() - 5, 0], atol=1e-3)
    log_q = negatives.log_q(tf.constant([0.0, 10.0, 30.0]))
    np.testing.assert_allclose(np.exp(log_q), expected, rtol=1e-3)

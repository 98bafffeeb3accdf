import math

import numpy as np
import pytest

from components.trainer.losses import in_batch_softmax


def loss(users, movies, ids, log_count, weight, temperature=0.5):
    arrays = [np.array(x, np.float32) for x in (users, movies)]
    return float(
        in_batch_softmax(
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

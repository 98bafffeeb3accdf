"""What the user's vectors are made of."""

import numpy as np
import pytest

from schemas.data_spec import movielens
from schemas.numpy_tower import OPS
from schemas.tastes import Tastes
from schemas.user_vectors import joined, ranking_parts


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        ([], [1, 1, 1, 0, 1]),
        ([5] * 10, [1.5, 1, 1.25, 1 / 8, 1 / 4]),
        ([5, 4, 3, 2] * 5, [1 + 1 / 12, 1, 1 + 1 / 24, 8 / 27, 1 / 9]),
        ([0.5] * 10, [0.5, 1, 0.75, 1 / 8, 0]),
        ([5] * 990, [1.01, 1, 1.005, 0.99**3, 0.01**2]),
    ],
)
def test_of_whom_little_is_known_what_is_learned_leads_unless_they_dislike(ratings, expected):
    stars = np.array([[*ratings, 0, 0]], np.float32)
    one = np.ones((1, 1), np.float32)
    affinity = np.zeros((1, 4), np.float32)
    affinity[0, 1] = 0.45
    parts = ranking_parts(Tastes(OPS, movielens()), one, one, affinity, stars)
    parts[2] = parts[2][:, 1:2] / (0.45 * 2)  # The root of four genres.
    parts[4] = parts[4] * np.e  # What is left to somebody with this affinity.
    np.testing.assert_allclose(np.concatenate(parts, axis=1)[0], expected, rtol=1e-5)


def test_both_parts_of_popularity_weigh_the_same_number_of_a_movie():
    parts = [np.array([[3.0, 0]]), np.array([[1.0]]), np.array([[2.0]]), np.array([[0.5]]), np.array([[0.25]])]
    found = joined(OPS, parts, np.array([1.0, 2.0, -4.0, 8.0]))
    np.testing.assert_allclose(found, np.array([[3, 0, 1, 4, 0, 0]]) / np.sqrt(26))

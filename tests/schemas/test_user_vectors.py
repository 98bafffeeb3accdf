"""What the user's vectors are made of."""

import numpy as np
import pytest

from schemas.data_spec import movielens
from schemas.numpy_tower import OPS
from schemas.tastes import Tastes
from schemas.user_vectors import ranking_parts


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        ([], [1, 1, 1, 0]),
        ([5] * 10, [1.5, 1, 1.25, 1 / 8]),
        ([5, 4, 3, 2] * 5, [1 + 1 / 12, 1, 1 + 1 / 24, 8 / 27]),
        ([0.5] * 10, [0.5, 1, 0.75, 1 / 8]),
        ([5] * 990, [1.01, 1, 1.005, 0.99**3]),
    ],
)
def test_of_whom_little_is_known_what_is_learned_leads_unless_they_dislike(ratings, expected):
    stars = np.array([[*ratings, 0, 0]], np.float32)
    one = np.ones((1, 1), np.float32)
    parts = ranking_parts(Tastes(OPS, movielens()), one, one, one, stars)
    np.testing.assert_allclose(np.concatenate(parts, axis=1)[0], expected, rtol=1e-5)

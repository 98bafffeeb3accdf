"""What the user's vectors are made of."""

import numpy as np
import pytest

from schemas.data_spec import movielens
from schemas.numpy_tower import OPS
from schemas.tastes import Tastes
from schemas.user_vectors import ranking_parts


@pytest.mark.parametrize(("ratings", "expected"), [(0, [2, 1, 1.5, 0]), (10, [1.5, 1, 1.25, 1 / 8])])
def test_of_whom_little_is_known_what_is_learned_leads(ratings, expected):
    stars = np.where(np.arange(20) < ratings, 4, 0).astype(np.float32)[None]
    one = np.ones((1, 1), np.float32)
    parts = ranking_parts(OPS, one, one, one, Tastes(OPS, movielens()).acquaintance(stars))
    np.testing.assert_allclose(np.concatenate(parts, axis=1)[0], expected, rtol=1e-6)


def test_of_whom_is_well_known_all_counts_as_configured():
    one = np.ones((1, 1), np.float32)
    np.testing.assert_array_equal(np.concatenate(ranking_parts(OPS, one, one, one, one), axis=1), np.ones((1, 4)))

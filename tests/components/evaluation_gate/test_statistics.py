import math

import numpy as np
import pytest

from components.evaluation_gate.statistics import interval, rating_error, root_mean_square
from schemas.data_spec import movielens


def test_rating_error_clips_and_counts():
    error = rating_error(np.array([6.0, 2.0, 0.0]), np.array([5.0, 3.0, 0.5]), movielens().scale)
    assert dict(error) == {"rmse": pytest.approx(math.sqrt(1 / 3)), "mae": pytest.approx(1 / 3), "ratings": 3}
    assert dict(rating_error(np.zeros(0), np.zeros(0), movielens().scale)) == {"rmse": 0.0, "mae": 0.0, "ratings": 0}


def test_of_a_single_user_there_is_no_interval():
    assert interval(root_mean_square, np.array([8.0]), np.array([2])) == (2.0, 2.0)
    low, high = interval(root_mean_square, np.array([8.0, 2.0]), np.array([2, 2]))
    assert low < high

import numpy as np
import polars as pl

from components.dataset import Dataset
from components.pusher import histories
from schemas import features as f
from schemas.user_features import FeatureConstants
from tests.fixed_model import shards_of

USERS = 9


def data():
    """User u has u + 1 ratings."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(USERS), np.arange(1, USERS + 1)).astype(np.int32)
    size = len(user)
    return Dataset(
        pl.DataFrame({f.MOVIE_ID: np.arange(20)}),
        FeatureConstants(3.5, (3.5,) * 20, latest_s=0),
        np.sort(rng.choice(100, USERS, replace=False)),
        user,
        rng.integers(0, 20, size).astype(np.int32),
        (rng.integers(1, 11, size) / 2).astype(np.float32),
        rng.integers(0, 10**9, size),
        np.ones(size, bool),
        pl.Series([f"user {number}" for number in range(USERS)]),
    )


def test_ratings_come_by_user_and_time_whatever_the_shards(tmp_path):
    whole = data()
    order = np.random.default_rng(1).permutation(USERS)
    parts = shards_of(whole, np.split(order, [2, 3, 6]))
    found, keys = histories.join(parts, str(tmp_path / "ratings.npy"))
    np.testing.assert_array_equal(found.user_ids, whole.user_ids)
    np.testing.assert_array_equal(np.diff(found.offsets), np.arange(1, USERS + 1))
    movies, stars, timestamps = found[:]
    np.testing.assert_array_equal(movies, whole.movie)
    np.testing.assert_array_equal(stars, whole.stars)
    np.testing.assert_array_equal(timestamps, whole.timestamp)
    assert keys.to_list() == whole.user_keys.to_list()
    assert isinstance(found.ratings, np.memmap)

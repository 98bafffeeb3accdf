import numpy as np
from scipy import sparse

from components.evaluation_gate import baselines
from schemas.evaluation import BIASES, GLOBAL_MEAN, POPULARITY, RECENT_POPULARITY


def test_each_baseline_predicts_or_ranks():
    user, movie, stars = np.array([0, 0, 1]), np.array([2, 0, 2]), np.array([5.0, 3.0, 4.0])
    timestamp = np.array([0, 20 * 86_400, 8 * 86_400])
    ratings = sparse.csr_matrix((stars.astype(np.float32), (user, movie)), (2, 3))
    late = baselines.recent_popularity(movie, timestamp, timestamp.max(), 3)
    fits = baselines.fit([ratings], np.array([0, 1]), np.bincount(movie), late)
    fitted = {baseline.name: baseline for baseline in fits}
    assert list(fitted) == [GLOBAL_MEAN, BIASES, POPULARITY, *RECENT_POPULARITY.values()]
    np.testing.assert_array_equal(fitted[GLOBAL_MEAN].predict(np.array([1, 0]), np.array([1, 1])), [4, 4])
    high, low = fitted[BIASES].predict(np.array([0, 0]), np.array([2, 0]))
    assert high > 4 > low
    np.testing.assert_array_equal(fitted[POPULARITY].scores, [1, 0, 2])
    recent = {days: np.argsort(-fitted[name].scores) for days, name in RECENT_POPULARITY.items()}
    assert {days: order.tolist() for days, order in recent.items()} == {30: [2, 0, 1], 7: [0, 2, 1]}
    assert (fitted[POPULARITY].predict, fitted[GLOBAL_MEAN].scores) == (None, None)

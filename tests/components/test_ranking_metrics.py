import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import ranking_metrics


def task(seen, relevant, num_movies):
    def flat(lists):
        return np.cumsum([0, *map(len, lists)]), np.array([m for row in lists for m in row], np.int64)

    return ranking_metrics.RankingTask(np.arange(len(seen)), flat(seen), flat(relevant), num_movies)


def test_one_user_by_hand():
    """Movies 0 to 11, higher scores first; 0 is seen; 2 and 5 are relevant and end up on ranks 2 and 5, 11 on none."""
    scores = -np.arange(12, dtype=np.float32)[None]
    ranking = ranking_metrics.rank(task([[0]], [[2, 5, 11]], 12), lambda rows: scores[rows].copy())
    assert ranking.recall[0] == pytest.approx(2 / 3)
    best = sum(1 / math.log2(rank + 1) for rank in (1, 2, 3))
    assert ranking.ndcg[0] == pytest.approx((1 / math.log2(3) + 1 / math.log2(6)) / best)
    assert ranking.coverage == pytest.approx(10 / 12)


def test_recall_is_over_ten_where_more_are_relevant():
    scores = -np.arange(30, dtype=np.float32)[None]
    ranking = ranking_metrics.rank(task([[]], [list(range(15))], 30), lambda rows: scores[rows].copy())
    assert ranking.recall[0] == 1
    assert ranking.ndcg[0] == pytest.approx(1)


def test_a_user_who_has_seen_nearly_everything():
    """Only one movie is left: it is ranked, and seen ones never fill the list."""
    scores = np.ones((1, 12), np.float32)
    ranking = ranking_metrics.rank(task([list(range(11))], [[11]], 12), lambda rows: scores[rows].copy())
    assert (ranking.recall[0], ranking.coverage) == (1, pytest.approx(1 / 12))


@given(st.integers(1, 25), st.integers(1, 40) | st.integers(1_000, 3_000), st.integers(0, 2**31), st.booleans())
@settings(deadline=None, max_examples=80)
def test_top_n_equals_a_stable_argsort(n, columns, seed, ties):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (3, columns)).astype(np.float32) if ties else rng.random((3, columns))
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    np.testing.assert_array_equal(ranking_metrics.top_n(scores, n), expected)


def test_the_block_size_changes_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, (20, 50)).astype(np.float32)
    seen = [rng.choice(50, 8, replace=False).tolist() for _ in range(20)]
    relevant = [[m for m in rng.choice(50, 5, replace=False) if m not in s] or [0] for s in seen]
    whole = ranking_metrics.rank(task(seen, relevant, 50), lambda rows: scores[rows].copy())
    monkeypatch.setattr(ranking_metrics, "_BLOCK_BYTES", 4 * 50 * 3)
    blocks = ranking_metrics.rank(task(seen, relevant, 50), lambda rows: scores[rows].copy())
    np.testing.assert_array_equal(whole.recall, blocks.recall)
    np.testing.assert_array_equal(whole.ndcg, blocks.ndcg)
    assert whole.coverage == blocks.coverage


def test_ranking_task_takes_liked_eval_movies_of_sampled_users():
    user = np.repeat(np.arange(5), 4)
    movie = np.tile(np.arange(4), 5)
    stars = np.tile([5.0, 3.0, 4.0, 3.5], 5)
    train = np.tile([True, True, False, False], 5)
    whole = ranking_metrics.ranking_task(user, movie, stars, train, 4, max_users=9, seed=0, liked=4.0)
    assert whole.users.tolist() == [0, 1, 2, 3, 4]
    assert whole.seen[1].tolist() == [0, 1] * 5
    assert whole.relevant[1].tolist() == [2] * 5
    some = ranking_metrics.ranking_task(user, movie, stars, train, 4, max_users=2, seed=0, liked=4.0)
    assert len(some.users) == 2
    assert some.seen[0].tolist() == [0, 2, 4]
    assert (
        ranking_metrics.ranking_task(user, movie, stars, train, 4, 2, seed=0, liked=4.0).users.tolist()
        == some.users.tolist()
    )
    others = {
        tuple(ranking_metrics.ranking_task(user, movie, stars, train, 4, 2, seed=s, liked=4.0).users) for s in range(9)
    }
    assert len(others) > 1, "another seed takes other users"


@given(st.integers(1, 40), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_to_rank_by_the_same_scores_for_all_is_to_rank(movies, seed):
    """With ties, and users who have seen nothing, or nearly all."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, movies).astype(float)
    seen = [rng.choice(movies, rng.integers(0, movies + 1), replace=False).tolist() for _ in range(7)]
    relevant = [[int(rng.integers(movies))] for _ in seen]
    asked = task(seen, relevant, movies)
    one, other = (
        ranking_metrics.rank_alike(asked, scores),
        ranking_metrics.rank(asked, lambda rows: np.tile(scores, (rows.stop - rows.start, 1))),
    )
    for name in ("top", "recall", "ndcg"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.coverage == other.coverage

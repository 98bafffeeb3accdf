"""The weights of the embedding's parts, looked for by what eval users want."""

import numpy as np
import pytest

from components.trainer import blend

CONFIGURED = np.array([4.0, 2.0, -3.0, 5.0], np.float32)


def peak_at(*best, height=0.2, slope=0.01):
    """NDCG that is highest at some weights."""
    return lambda weights: np.full(50, height - slope * float(np.abs(weights - np.array(best)).sum()))


def test_what_is_clearly_better_is_taken():
    found = blend.search(peak_at(1.0, 0.0, -3.0, 5.0), CONFIGURED, 0.1)
    assert found.tolist() == [1.0, 0.0, -3.0, 5.0]


def test_what_is_a_little_better_is_not():
    found = blend.search(peak_at(1.0, 0.0, -3.0, 5.0, slope=0.001), CONFIGURED, 0.1)
    assert found.tolist() == CONFIGURED.tolist()


@pytest.mark.parametrize(("slope", "taken"), [(0.05, 1.5), (0.002, -3.0)], ids=["much better", "a little better"])
def test_with_the_model_that_is_kept_popularity_is_tried_in_favour(slope, taken):
    found = blend.search(peak_at(4.0, 2.0, 1.6, 5.0, height=0.5, slope=slope), CONFIGURED, 0.1, blend.OF_KEPT)
    assert found.tolist() == [4.0, 2.0, taken, 5.0]


@pytest.mark.parametrize(("best", "taken"), [(40.0, 40.0), (20.0, 20.0), (9.0, 10.0), (0.0, 5.0)])
def test_for_somebody_new_more_popularity_is_tried_and_nothing_else(best, taken):
    found = blend.search(peak_at(0.0, 0.0, 0.0, best, height=2.0, slope=0.03), CONFIGURED, 0.1, blend.OF_NEW)
    assert found.tolist() == [4.0, 2.0, -3.0, taken]


@pytest.mark.parametrize(("users", "taken"), [(40, False), (4_000, True)])
def test_what_is_better_for_a_few_users_by_chance_is_not(users, taken):
    noise = np.random.default_rng(0).normal(size=users) * 0.2

    def ndcg(weights):
        return 0.1 + (noise + 0.03 - noise.mean()) * float(np.abs(weights - CONFIGURED).sum() > 0)

    found = blend.search(ndcg, CONFIGURED, 0.1)
    assert (found.tolist() != CONFIGURED.tolist()) == taken


def test_the_configured_weights_are_left_alone():
    blend.search(peak_at(0.0, 0.0, 0.0, 0.0), CONFIGURED, 0.1)
    assert CONFIGURED.tolist() == [4.0, 2.0, -3.0, 5.0]


def test_without_hits_the_configured_weights_stay():
    assert blend.search(lambda weights: np.zeros(50), CONFIGURED, 0.1).tolist() == CONFIGURED.tolist()

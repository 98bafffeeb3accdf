"""Whom a training ranks for."""

import numpy as np
import pytest

from components.trainer import blend
from components.trainer.config import TrainerConfig
from components.trainer.ranking import RankingMetrics
from components.trainer.two_tower import TwoTower
from schemas import features as f


def test_somebody_new_is_shown_with_the_first_ratings_that_they_gave(train_data):
    data = train_data.ranking
    metrics = RankingMetrics(data, train_data.inputs, TrainerConfig())
    stars = np.asarray(metrics._new.inputs[f.USER_HISTORY_RATINGS])
    given = np.bincount(data.user)
    np.testing.assert_array_equal((stars > 0).sum(axis=1), np.minimum(given, np.resize([1, 3, 5, 10], len(given))))
    for user in range(data.num_users):
        own = np.flatnonzero(data.user == user)
        given = stars[user][stars[user] > 0]
        np.testing.assert_array_equal(given[::-1], data.stars[own[: len(given)]])
    task = metrics._new.task
    for place, user in enumerate(task.users):
        own = np.flatnonzero(data.user == user)
        later = own[(stars[user] > 0).sum() :]
        relevant = task.relevant[1][slice(*task.relevant[0][place : place + 2])]
        np.testing.assert_array_equal(relevant, data.movie[later][data.stars[later] >= 4])


@pytest.mark.parametrize("weighs", [True, False])
def test_only_a_training_from_the_start_looks_for_weights_of_known_users_and_then_of_new_ones(
    train_data, monkeypatch, weighs
):
    calls = []

    def search(ndcg, weights, least_gain, tries=blend.OF_KNOWN):
        calls.append((weights.tolist(), least_gain, tries, len(ndcg(weights))))
        return weights + 1

    monkeypatch.setattr(blend, "search", search)
    weights = {"co_rating_weight": 1.0, "genre_weight": 2.0, "popularity_weight": 3.0}
    config = TrainerConfig(hidden_units=(8,), **weights, new_user_popularity_weight=4.0, least_blend_gain=0.5)
    model = TwoTower(config, len(train_data.vocabulary), train_data.domain)
    metrics = RankingMetrics(train_data.ranking, train_data.inputs, config, weighs)
    metrics.set_model(model)
    metrics.on_epoch_end(0, {})
    known, new = len(metrics._known.task.users), len(metrics._new.task.users)
    looked = [
        ([1.0, 2.0, 3.0, 4.0], 0.5, blend.OF_KNOWN, known),
        ([2.0, 3.0, 4.0, 5.0], 0.5, blend.OF_NEW, new),
    ]
    assert calls == (looked if weighs else [])
    assert np.asarray(model.user_tower.blend).tolist() == ([3.0, 4.0, 5.0, 6.0] if weighs else [1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("weighs", "found"), [(True, [1.0, 2.0, 6.0, 5.0]), (True, None), (False, [1.0, 2.0, 6.0, 5.0])]
)
def test_once_training_is_over_weights_are_looked_for_with_the_model_that_is_kept(
    train_data, monkeypatch, weighs, found
):
    config = TrainerConfig(hidden_units=(8,), co_rating_weight=1.0, genre_weight=2.0, popularity_weight=-3.0)
    model = TwoTower(config, len(train_data.vocabulary), train_data.domain)
    model.user_tower.blend.assign([0.5, 0.0, 0.0, 5.0])
    calls = []

    def search(ndcg, weights, least_gain, tries):
        calls.append((weights.tolist(), least_gain, tries, len(ndcg(weights))))
        return weights if found is None else np.array(found, np.float32)

    monkeypatch.setattr(blend, "search", search)
    metrics = RankingMetrics(train_data.ranking, train_data.inputs, config, weighs)
    metrics.set_model(model)
    metrics.weigh_kept()
    known = len(metrics._known.task.users)
    assert calls == ([([1.0, 2.0, -3.0, 5.0], 0.1, blend.OF_KEPT, known)] if weighs else [])
    assert np.asarray(model.user_tower.blend).tolist() == (found if weighs and found else [0.5, 0.0, 0.0, 5.0])

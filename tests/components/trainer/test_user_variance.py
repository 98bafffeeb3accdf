"""How much users differ throughout, looked for on eval ratings."""

import dataclasses

import numpy as np
import pytest

from components.trainer import user_variance
from components.trainer.config import TrainerConfig
from components.trainer.input import movie_columns
from components.trainer.two_tower import TwoTower
from schemas import features as f
from schemas.tastes import USER_VARIANCE


@pytest.fixture(scope="module")
def model(train_data):
    model = TwoTower(TrainerConfig(hidden_units=(8,)), len(train_data.vocabulary), train_data.domain)
    averages = np.random.default_rng(0).uniform(2.5, 3.5, len(train_data.vocabulary) + 1)
    model.learn_movies(train_data.genres, averages.astype(np.float32), train_data.histories.likes, None, None)
    return model


def rated(train_data, model, offset, noise):
    """The data set with ratings of their movies' averages, what a user gives more or less, and chance."""
    data, rng = train_data.ranking, np.random.default_rng(1)
    tokens = np.asarray(movie_columns(data.catalog, train_data.inputs)[f.MOVIE_TOKEN])[:, 0]
    stars = np.asarray(model.user_tower.averages)[tokens][data.movie] + offset * (data.user % 2 * 2 - 1)
    stars = np.clip(stars + noise * rng.normal(size=len(stars)), f.RATING_MIN, f.RATING_MAX)
    return dataclasses.replace(data, stars=stars.astype(np.float32))


@pytest.mark.parametrize(
    ("offset", "noise", "expected"),
    [(1.0, 0.3, 8.0), (0.3, 0.9, 1.0), (0.0, 0.9, 1.0)],
    ids=["much", "a little", "not"],
)
def test_the_more_users_differ_the_more_a_first_rating_says(train_data, model, offset, noise, expected):
    found = user_variance.fit(model, rated(train_data, model, offset, noise), train_data.inputs)
    assert found == pytest.approx(USER_VARIANCE * expected)


def test_the_errors_are_those_of_what_is_expected_beyond_the_averages(train_data, model):
    """Without genres and factors in the ratings: of two ratings of one star more, what a bias so shrunken expects."""
    data = rated(train_data, model, 0.5, 0.0)
    model.user_tower.genre_shares.assign(np.zeros(train_data.domain.num_categories))
    score = user_variance._score(model, data, train_data.inputs)
    nothing, all_of_it = -score(1e-6), -score(1e6)
    assert nothing.mean() > all_of_it.mean()
    assert all_of_it.mean() == pytest.approx(0, abs=0.02)


def test_without_eval_ratings_it_stays(train_data, model):
    data = dataclasses.replace(train_data.ranking, train=np.ones(len(train_data.ranking.user), bool))
    assert user_variance.fit(model, data, train_data.inputs) == USER_VARIANCE

"""Whether lists make sense to a person: probes of a trained model, of any output with MATINEE_OUTPUT."""

import itertools
import os

import numpy as np
import pytest

from schemas import features as f
from schemas.data_spec import movielens
from schemas.ingest import GENRE_NAMES
from serving import Recommender
from tests.workspace import Workspace

pytestmark = pytest.mark.e2e

USERS, KNOWN = 50, 30


TRAINED = ("--epochs", "12", "--hidden-units", "256,128", "--ema-momentum", "0.9", "--refit-epochs", "3")
TRAINED += ("--least-blend-gain", "1")
"""A model of two epochs lies so near the bounds that chance decides; and by the weights of the embedding's parts that
serve a list's sense, in place of which a training may take what so few users' held-out ratings would have."""


@pytest.fixture(scope="module")
def recommender(sample, tmp_path_factory):
    if given := os.environ.get("MATINEE_OUTPUT"):
        return Recommender.load(f"{given}/serving")
    workspace = Workspace(sample, tmp_path_factory.mktemp("taste") / "output")
    done = workspace.run(*TRAINED)
    assert done.returncode == 0, done.stdout
    return Recommender.load(str(workspace.serving))


@pytest.fixture(scope="module")
def genres(recommender):
    """Genres of each movie by its id, the most rated movie first."""
    movies = recommender.movies.sort(f.MOVIE_NUM_RATINGS, f.MOVIE_ID, descending=[True, False])
    return dict(zip(movies[f.MOVIE_ID].to_list(), map(set, movies[GENRE_NAMES].to_list()), strict=True))


@pytest.fixture(scope="module")
def profiles(recommender):
    """The latest ratings of some known users, the latest first: movie ids and stars."""
    ids = recommender.movies[f.MOVIE_ID].to_numpy()
    found = map(recommender.profile, recommender.user_ids[:USERS].tolist())
    return [(ids[profile.rows][::-1].tolist(), profile.stars[::-1].tolist()) for profile in found]


def well_known(genres, wanted, without, n):
    """The most rated movies of a genre."""
    return [movie for movie, names in genres.items() if wanted in names and not names & without][:n]


def common(genres):
    """The genres that have enough movies for a list of them."""
    return [name for name in movielens().categories[1:] if sum(name in names for names in genres.values()) >= KNOWN]


def listed(recommender, pairs, n=10):
    return [r.movie_id for r in recommender.recommend(ratings=pairs, n=n)]


def test_liking_and_disliking_the_same_movies_gives_other_lists(recommender, profiles):
    same = []
    for movies, _ in profiles:
        liked, disliked = (set(listed(recommender, [(m, stars) for m in movies[:5]])) for stars in (5.0, 0.5))
        same.append(len(liked & disliked))
    assert np.mean(same) <= 1


def test_a_liked_genre_comes_and_a_disliked_one_goes(recommender, genres):
    good, bad = [], []
    for liked, disliked in itertools.permutations(common(genres), 2):
        rated = well_known(genres, liked, {disliked}, 3), well_known(genres, disliked, {liked}, 3)
        top = listed(recommender, [(m, 5.0) for m in rated[0]] + [(m, 0.5) for m in rated[1]])
        good.append(np.mean([liked in genres[m] and disliked not in genres[m] for m in top]))
        bad.append(np.mean([disliked in genres[m] for m in top]))
    assert np.mean(good) >= 0.5
    assert np.mean(bad) <= 0.05  # Five trainings of the sample: 0.01 to 0.03.


@pytest.mark.parametrize("n", [3, 5])
def test_a_few_movies_of_a_genre_bring_the_genre(recommender, genres, n):
    shares = []
    for name in common(genres):
        top = listed(recommender, [(m, 5.0) for m in well_known(genres, name, set(), n)])
        shares.append(np.mean([name in genres[m] for m in top]))
    assert np.mean(shares) >= 0.6


def test_a_single_movie_decides_what_comes(recommender, genres):
    """Somebody who liked one movie does not get what everybody gets."""
    lists = [set(listed(recommender, [(movie, 5.0)])) for movie in list(genres)[:USERS]]
    same = [len(one & other) for one, other in itertools.combinations(lists, 2)]
    assert np.mean(same) <= 5


def test_a_better_rating_brings_what_is_similar_up(recommender, profiles, genres):
    rises = []
    for movies, stars in profiles[:20]:
        near = recommender.similar_movies(movies[0], 1)[0].movie_id
        if near in movies:
            continue
        places = []
        for own in (1.0, 5.0):
            order = listed(recommender, [(movies[0], own), *zip(movies[1:], stars[1:], strict=True)], len(genres))
            places.append(order.index(near))
        rises.append(places[1] < places[0])
    assert np.mean(rises) >= 0.9


def test_reasons_are_liked_movies_that_share_a_genre(recommender, genres):
    given = 0
    for user in recommender.user_ids[:USERS].tolist():
        for recommendation in recommender.recommend(user_id=user):
            if reason := recommendation.because:
                given += 1
                assert reason.rating >= movielens().scale.liked
                assert genres[reason.movie_id] & genres[recommendation.movie_id]
    assert given > USERS


def test_stars_follow_who_rates_and_what(recommender, genres):
    """Who gives all movies more gets more, and a rating alone moves no prediction by more than its own distance."""
    movies = list(genres)[:10]
    asked = list(genres)[10:40]
    low, middle, high = (
        recommender.predict_ratings(ratings=[(m, stars) for m in movies], movie_ids=asked) for stars in (2.0, 3.5, 5.0)
    )
    assert low.mean() < middle.mean() - 0.2
    assert middle.mean() < high.mean() - 0.2
    one = recommender.predict_ratings(ratings=[(movies[0], 5.0)], movie_ids=asked)
    assert np.abs(one - recommender.predict_ratings(ratings=[(movies[0], 3.5)], movie_ids=asked)).max() < 1


def test_the_more_is_known_of_a_user_the_less_famous_are_the_movies(recommender, profiles):
    counts = dict(recommender.movies.select(f.MOVIE_ID, f.MOVIE_NUM_RATINGS).iter_rows())

    def fame(known):
        lists = [
            listed(recommender, list(zip(movies[:known], stars[:known], strict=True))) for movies, stars in profiles
        ]
        return np.mean([np.log1p(counts[m]) for top in lists for m in top])

    assert fame(None) < fame(1)

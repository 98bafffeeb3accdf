"""One SavedModel that recommends: equal to the service's lists, in the loader that TensorFlow Serving uses."""

import numpy as np
import pytest

from components.recommender_model import FOUND, RECOMMEND, SCORES, export_recommender
from serving import Recommender
from serving.store import ServingStore

N = 20


@pytest.fixture(scope="module")
def recommender(published):
    return Recommender.load(str(published))


@pytest.fixture(scope="module")
def directory(published, tmp_path_factory):
    return export_recommender(str(published), str(tmp_path_factory.mktemp("models") / "recommender"))


@pytest.fixture
def ask(directory, session_run):
    """Ask for lists: of each user their ratings, the movies to mask and the time."""

    def asked(users, n=N):
        longest = max(len(ratings) for ratings, _, _ in users)
        masked = max(len(masked) for _, masked, _ in users)
        found = session_run(
            directory,
            RECOMMEND,
            {
                "movies": np.array([[m for m, _ in r] + [0] * (longest - len(r)) for r, _, _ in users], np.int64),
                "ratings": np.array([[x for _, x in r] + [0] * (longest - len(r)) for r, _, _ in users], np.float32),
                "masked_movies": np.array([list(m) + [-1] * (masked - len(m)) for _, m, _ in users], np.int64),
                "n": np.int32(n),
                "asked_s": np.array([asked_s for _, _, asked_s in users], np.int64),
            },
        )
        return found[FOUND], found[SCORES]

    return asked


def equal(ids, scores, expected):
    """Whether a list is the service's; movies with scores that differ by less than the towers do may change places."""
    assert scores == pytest.approx([movie.score for movie in expected], abs=1e-5)
    places = {movie.movie_id: place for place, movie in enumerate(expected)}
    for place, movie in enumerate(ids.tolist()):
        if movie in places:
            assert scores[place] == pytest.approx(expected[places[movie]].score, abs=1e-5)
        else:
            assert scores[place] == pytest.approx(expected[-1].score, abs=1e-5), "a tie for the last place"
    return len(set(ids.tolist()) & places.keys())


def test_known_users_get_the_services_lists(recommender, ask):
    users = recommender.user_ids[:30].tolist()
    histories = [recommender.history(user) for user in users]
    ratings = [[*history.select("movie_id", "rating").iter_rows()] for history in histories]
    times = [int(history["timestamp"][-1]) for history in histories]
    ids, scores = ask([(each, [], asked_s) for each, asked_s in zip(ratings, times, strict=True)])
    same = [
        equal(ids[place], scores[place], recommender.recommend(user_id=user, n=N)) for place, user in enumerate(users)
    ]
    assert sum(same) >= 0.99 * N * len(users)


def test_new_users_and_what_is_masked(recommender, ask):
    movies = recommender.movies["movie_id"].to_list()
    few = [(movies[3], 5.0), (movies[40], 1.5), (movies[7], 4.0)]
    best = [movie.movie_id for movie in recommender.recommend(ratings=few, n=3)]
    unknown = [(movies[3], 5.0), (10**9, 2.0), (movies[40], 1.5), (movies[7], 4.0)]
    ids, scores = ask([(few, [], 0), (few, [*best, 10**9], 0), (unknown, [], 0), ([], [best[0]], 0)])
    equal(ids[0], scores[0], recommender.recommend(ratings=few, n=N))
    equal(ids[1], scores[1], recommender.recommend(ratings=few, n=N, exclude_movie_ids=best))
    np.testing.assert_array_equal(ids[2], ids[0])
    popular = recommender.recommend(ratings=[], n=N, exclude_movie_ids=[best[0]])
    assert ids[3].tolist() == [movie.movie_id for movie in popular]
    assert not scores[3].any()


def test_a_user_who_has_rated_nearly_everything_gets_what_is_left(recommender, ask):
    movies = recommender.movies["movie_id"].to_list()
    ids, scores = ask([([(movie, 3.5) for movie in movies[:-4]], [], 0)], n=len(movies) + 5)
    assert ids.shape == (1, len(movies))
    assert sorted(ids[0, :4].tolist()) == movies[-4:]
    assert (ids[0, 4:] == -1).all()
    assert np.isneginf(scores[0, 4:]).all()


def test_a_version_is_written_once(published, directory, tmp_path):
    with pytest.raises(ValueError, match="is there already"):
        export_recommender(str(published), directory.rpartition("/")[0])
    version = ServingStore(str(published)).latest()
    assert export_recommender(str(published), str(tmp_path), version) == f"{tmp_path}/{version}"
    assert [path.name for path in tmp_path.iterdir()] == [str(version)]
    with pytest.raises(ValueError, match="no model is published"):
        export_recommender(str(tmp_path / "none"), str(tmp_path))

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import features as f
from schemas import manifest as m
from schemas.data_spec import movielens
from schemas.histories import Histories
from schemas.user_features import FeatureConstants
from schemas.vectors import Vectors
from serving import index
from serving.answers import PERSONAL, POPULAR, MovieFilter
from serving.recommender import Recommender

MOVIES, DIM = 40, 6
CONSTANTS = FeatureConstants(3.5, (3.5,) * 20, latest_s=900)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class FixedProjectionTower:
    """A user tower that is a random projection of the features: enough to rank by, and easy to repeat."""

    projections = (
        np.random.default_rng(4)
        .normal(size=(2, sum(f.lengths(f.USER_FEATURES, movielens().num_categories).values()), DIM))
        .astype(np.float32)
    )

    def embed(self, features):
        statistics = np.concatenate([features[name] for name in f.USER_FEATURES], axis=1)
        return Vectors(*(unit(statistics @ projection) for projection in self.projections))


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    rng = np.random.default_rng(0)
    genres = (rng.random((MOVIES, 20)) < 0.2).astype(np.float32)
    movies = pl.DataFrame(
        {
            f.MOVIE_ID: np.arange(MOVIES) * 10 + 5,
            "title": [f"Movie {i}" for i in range(MOVIES)],
            "genres": [["Drama"]] * MOVIES,
            "year": pl.Series([1990] * (MOVIES - 1) + [None], dtype=pl.Int32),
            f.MOVIE_NUM_RATINGS: rng.integers(0, 9, MOVIES).astype(np.float32),
            f.MOVIE_AVERAGE_RATING: rng.uniform(2, 4, MOVIES).astype(np.float32),
            f.MOVIE_YEAR: np.full(MOVIES, 1990, np.float32),
        }
    ).with_columns(pl.Series(f.MOVIE_GENRES, genres).cast(pl.List(pl.Float32)))
    rows = [(1, 0, 4.0, 1), (1, 2, 2.0, 2), (7, 1, 5.0, 1)]
    rows += [(9, i, 3.5, i) for i in range(MOVIES - 3)] + [(11, i, 3.0, i) for i in range(MOVIES)]
    histories = Histories.of(*map(np.array, zip(*rows, strict=True)))
    directory, model = (tmp_path_factory.mktemp(name) for name in ("index", "model"))
    (model / m.SAVED_MODEL_FILE).write_text("graph")
    contents = index.IndexContents(
        vectors=Vectors(*unit(rng.normal(size=(2, MOVIES, DIM)).astype(np.float32))),
        similarity=unit(rng.normal(size=(MOVIES, DIM)).astype(np.float32)),
        movies=movies,
        histories=histories,
        constants=CONSTANTS,
        user_tower_file=str(model / m.SAVED_MODEL_FILE),
        tower_digest="tower",
        probe=[1.0] + [0.0] * (DIM - 1),
        models={m.MOVIE_TOWER: str(model), m.EVALUATED: str(model)},
    )
    index.write_index(str(directory), 3, contents, str(model))
    return Recommender(index.read_index(str(directory)), FixedProjectionTower())


def embed(recommender, user_id):
    return FixedProjectionTower().embed(recommender.user_tower_inputs(user_id))[0]


def expected_scores(recommender, user_id):
    return recommender.embeddings @ embed(recommender, user_id).embeddings


def expected_stars(recommender, user_id):
    vectors = recommender._rating_vectors @ embed(recommender, user_id).rating_vectors
    return np.clip(2.75 + 2 * 2.25 * vectors, 0.5, 5)


def test_top_n_equals_a_plain_argsort(recommender):
    scores = expected_scores(recommender, 1)
    seen = {5, 25}
    order = [i for i in np.argsort(-scores, kind="stable") if i * 10 + 5 not in seen][:10]
    answer = recommender.recommend(user_id=1)
    assert [r.movie_id for r in answer] == [i * 10 + 5 for i in order]
    assert [r.score for r in answer] == pytest.approx([scores[i] for i in order])
    assert [r.predicted_rating for r in answer] == pytest.approx(expected_stars(recommender, 1)[order], rel=1e-5)
    assert {r.source for r in answer} == {PERSONAL}
    assert answer[0].title == f"Movie {order[0]}"


def test_why_is_a_liked_movie_that_is_similar_and_shares_a_genre(recommender):
    vectors = recommender._similar.embeddings
    genres = recommender.movies[f.MOVIE_GENRES].list.to_array(20).to_numpy()
    answer = recommender.recommend(ratings=[(15, 5.0), (35, 4.0), (45, 3.5), (65, 1.0)], n=30)
    whys = []
    for r in answer:
        row = (r.movie_id - 5) // 10
        close = {movie: vectors[row] @ vectors[movie] for movie in (1, 3) if genres[row] @ genres[movie]}
        nearest = max(close, key=close.get, default=None)
        expected = nearest * 10 + 5 if close and close[nearest] >= 0.2 else None
        assert (r.because and r.because.movie_id) == expected
        whys.append(expected)
    assert set(whys) == {15, 35, None}


@given(st.integers(5, 50), st.integers(1, MOVIES - 10))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_below_four_stars_is_a_reason(recommender, tenths, number):
    ratings = [(i * 10 + 5, tenths / 10) for i in range(number)]
    answer = recommender.recommend(ratings=ratings)
    assert len(answer) == 10
    reasons = [r.because.rating for r in answer if r.because]
    assert reasons == pytest.approx([tenths / 10] * len(reasons))
    assert tenths >= 40 or not reasons


def test_many_users_at_once_get_what_each_gets_alone(recommender):
    users = recommender.user_ids.tolist()
    for arguments in (
        {},
        {"n": 3, "diversity": 0.5},
        {"filter": MovieFilter(year_max=1990), "exclude_movie_ids": [15]},
    ):
        for user, together in zip(users, recommender.recommend_many(users, **arguments), strict=True):
            alone = recommender.recommend(user_id=user, **arguments)
            # A tower rounds a batch differently from a single user, in the last bits.
            assert [r.movie_id for r in together] == [r.movie_id for r in alone]
            assert [r.score for r in together] == pytest.approx([r.score for r in alone], abs=1e-6)
            assert [r.because for r in together] == [r.because for r in alone]
    assert recommender.recommend_many([]) == []


def test_filters(recommender):
    assert 395 in [r.movie_id for r in recommender.recommend(user_id=9)]
    dated = recommender.recommend(user_id=9, filter=MovieFilter(year_min=1980))
    assert {r.movie_id for r in dated} == {375, 385}, "the last movie has no year"
    assert recommender.recommend(user_id=9, filter=MovieFilter(year_min=1991)) == []
    genres = recommender.movies[f.MOVIE_GENRES].list.to_array(20).to_numpy()
    wanted = MovieFilter(genres=("Action", "War"))
    for answer in (recommender.recommend(user_id=1, filter=wanted), recommender.recommend(ratings=[], filter=wanted)):
        rows = [(r.movie_id - 5) // 10 for r in answer]
        assert rows
        assert genres[rows][:, [1, 18]].any(axis=1).all()
    with pytest.raises(ValueError, match="unknown genre Horse; expected one of"):
        recommender.recommend(user_id=9, filter=MovieFilter(genres=("Horse",)))


def test_a_user_who_rated_nearly_everything_gets_what_is_left(recommender):
    assert {r.movie_id for r in recommender.recommend(user_id=9)} == {375, 385, 395}
    assert recommender.recommend(user_id=11) == []


def test_excluded_movies_are_left_out(recommender):
    first = recommender.recommend(user_id=1, n=3)
    rest = recommender.recommend(user_id=1, n=3, exclude_movie_ids=[first[0].movie_id])
    assert [r.movie_id for r in rest[:2]] == [r.movie_id for r in first[1:]]


def test_a_new_user_with_the_same_ratings_gets_the_same_answer(recommender):
    assert recommender.recommend(ratings=[(5, 4.0), (25, 2.0)]) == recommender.recommend(user_id=1)


def test_no_ratings_give_the_popularity_list(recommender):
    answer = recommender.recommend(ratings=[], n=5)
    counts = recommender.movies[f.MOVIE_NUM_RATINGS].to_numpy()
    assert [r.movie_id for r in answer] == [i * 10 + 5 for i in np.argsort(-counts, kind="stable")[:5]]
    assert {r.source for r in answer} == {POPULAR}


def test_predicted_ratings_are_clipped_stars(recommender):
    predicted = recommender.predict_ratings(user_id=7, movie_ids=[395, 5])
    np.testing.assert_allclose(predicted, expected_stars(recommender, 7)[[39, 0]], rtol=1e-5)
    np.testing.assert_allclose(
        recommender.predict_ratings(ratings=[], movie_ids=[5]), recommender.movies[f.MOVIE_AVERAGE_RATING][0]
    )


def test_similar_movies_are_the_nearest_others(recommender):
    vectors = recommender._similar.embeddings
    order = [i for i in np.argsort(-(vectors @ vectors[3]), kind="stable") if i != 3][:4]
    assert [s.movie_id for s in recommender.similar_movies(35, n=4)] == [i * 10 + 5 for i in order]


def test_the_history_is_in_order_of_time(recommender):
    assert recommender.history(1).rows() == [(5, "Movie 0", 4.0, 1), (25, "Movie 2", 2.0, 2)]
    assert recommender.user_ids.tolist() == [1, 7, 9, 11]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user_id": 2}, r"user 2 is unknown to version 3 \(4 users\)"),
        ({"user_id": 99}, "user 99 is unknown"),
        ({"ratings": [(6, 4.0)]}, r"movie 6 is unknown to version 3 \(40 movies\)"),
        ({"ratings": [(5, 5.5)]}, "a rating of 5.5 is off the scale"),
        ({"ratings": [(5, float("nan"))]}, "a rating of nan is off the scale"),
        ({"ratings": [(5, 5), (5, 4)]}, "a movie is rated twice"),
        ({"user_id": 1, "n": 0}, "n is 0, expected 1 to 40"),
        ({"user_id": 1, "n": 41}, "n is 41, expected 1 to 40"),
        ({"user_id": 1, "exclude_movie_ids": [4]}, "movie 4 is unknown"),
        ({"user_id": 1, "diversity": 1.1}, "diversity is 1.1, expected 0 to 1"),
        ({}, "pass either user_id or ratings"),
        ({"user_id": 1, "ratings": []}, "pass either user_id or ratings"),
    ],
)
def test_wrong_requests(recommender, arguments, message):
    with pytest.raises(ValueError, match=message):
        recommender.recommend(**arguments)


def test_wrong_requests_for_similar_movies(recommender):
    with pytest.raises(ValueError, match="movie 4 is unknown"):
        recommender.similar_movies(4)
    with pytest.raises(ValueError, match="n is 40, expected 1 to 39"):
        recommender.similar_movies(5, n=40)


def test_nothing_published(tmp_path):
    with pytest.raises(ValueError, match=r"no model is published under .*; run the pipeline first"):
        Recommender.load(str(tmp_path))

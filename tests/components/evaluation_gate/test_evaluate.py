import numpy as np
import polars as pl
import pytest

from components.dataset import Dataset
from components.evaluation_gate.evaluate import ask, compare, evaluate, measure
from components.evaluation_gate.held_out import HeldOut
from schemas import features as f
from schemas.user_features import FeatureConstants
from schemas.vectors import Vectors
from tests.fixed_model import fixed_model, shards_of


def dataset(train):
    """Three users, four movies; user u rated movies 0 to 3."""
    genres = np.zeros((4, 20), np.float32)
    genres[:, 5] = 1
    catalog = pl.DataFrame({f.MOVIE_ID: [10, 20, 30, 40]}).with_columns(
        pl.Series(f.MOVIE_GENRES, genres).cast(pl.List(pl.Float32))
    )
    user, movie = np.divmod(np.arange(12), 4)
    stars = np.array([5, 3, 4, 2] * 3, np.float32)
    return Dataset(
        catalog,
        FeatureConstants(3.5, (3.5,) * 20, latest_s=0),
        np.arange(3),
        user.astype(np.int32),
        movie,
        stars,
        np.zeros(12, np.int64),
        train,
    )


HALF = np.array([True, True, False, False] * 3)


def unit(rows):
    rows = np.array(rows, np.float32)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return Vectors(rows, rows)


def test_metrics_beside_baselines_and_slices():
    data = dataset(HALF)
    model = fixed_model(data, unit([[1, 0]] * 3), unit([[1, 0], [1, 0], [1, 1], [0, 1]]))
    result = evaluate([data], model, 100)
    predicted = np.array([5, 2.75] * 3)
    expected = np.sqrt(np.mean((predicted - np.array([4, 2] * 3)) ** 2))
    assert result.model.rmse == pytest.approx(expected, rel=1e-5)
    assert result.model.recall == 1
    assert result.model.ratings == 6
    assert result.baselines["global mean"].rmse == pytest.approx(np.sqrt(2))
    assert result.slices["genre"]["Comedy"].ratings == 6
    assert result.slices["genre"]["War"].ratings == 0
    assert result.slices["movie popularity (train ratings)"]["0"].ratings == 6
    assert result.slices["user activity (train ratings)"]["0-19"].users == 3


def test_nothing_held_out_is_an_error():
    with pytest.raises(ValueError, match="no rating is held out"):
        HeldOut.read([dataset(np.ones(12, bool))], 100)


def test_the_served_model_is_compared_on_the_movies_that_it_has():
    data = dataset(HALF)
    held, users, movies = HeldOut.read([data], 100), unit([[1, 0]] * 3), unit([[1, 0]] * 4)
    known = np.array([True, True, True, False])
    models = [fixed_model(data, users, movies), fixed_model(data, users, movies, known)]
    ours, served = ask([data], held, models)
    result = compare(held, measure(held, ours), served)
    assert result.candidate.ratings == result.served.ratings == 3
    assert result.served.rmse == pytest.approx(1.0), "5 stars predicted for movies of 4"


def test_ratings_and_rankings_have_vectors_of_their_own():
    """Embeddings that rank every liked movie last, beside rating vectors that predict it exactly."""
    data = dataset(HALF)
    users, movies = unit([[1, 0]] * 3), unit([[1, 0], [1, 0], [1, 0], [-1, 0]])
    swapped = Vectors(movies.embeddings[[0, 1, 3, 2]], movies.rating_vectors)
    right, wrong = (evaluate([data], fixed_model(data, users, vectors), 100).model for vectors in (movies, swapped))
    assert right.rmse == wrong.rmse
    assert right.ndcg > wrong.ndcg


def test_how_users_are_divided_into_shards_leaves_no_trace():
    """Of 40 users, of whom 20 are ranked for: not a bit differs, whichever users come in which shard first."""
    rng = np.random.default_rng(0)
    users, movies = 40, 60
    rated = np.sort(np.argsort(rng.random((users, movies)), axis=1)[:, :12], axis=1)
    catalog = pl.DataFrame({f.MOVIE_ID: np.arange(movies)}).with_columns(
        pl.Series(f.MOVIE_GENRES, rng.integers(0, 2, (movies, 20)).astype(np.float32)).cast(pl.List(pl.Float32))
    )
    size = users * 12
    data = Dataset(
        catalog,
        FeatureConstants(3.5, (3.5,) * 20, latest_s=10**9),
        np.sort(rng.choice(1000, users, replace=False)),
        np.repeat(np.arange(users), 12).astype(np.int32),
        rated.ravel().astype(np.int32),
        (rng.integers(1, 11, size) / 2).astype(np.float32),
        10**9 - rng.integers(0, 10**7, size),
        np.arange(size) % 12 < 8,
    )
    model = fixed_model(data, *(unit(rng.normal(size=(number, 8))) for number in (users, movies)))
    order = rng.permutation(users)
    sharded = shards_of(data, np.split(order, [1, 13, 30]))
    assert evaluate([data], model, 20) == evaluate(sharded, model, 20)
    whole, parts = HeldOut.read([data], 20), HeldOut.read(sharded, 20)
    np.testing.assert_array_equal(whole.seen_ratings, parts.seen_ratings)
    for one, other in zip(whole.task.seen + whole.task.relevant, parts.task.seen + parts.task.relevant, strict=True):
        np.testing.assert_array_equal(one, other)
    assert list(map(whole.user_key, range(users))) == list(map(parts.user_key, range(users))) == data.user_ids.tolist()

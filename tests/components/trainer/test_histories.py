import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from components.trainer import histories
from schemas import features as f
from schemas.data_spec import movielens
from schemas.ingest import IS_TRAIN

WIDTH = f.HISTORY_LENGTH + 1


@pytest.fixture
def table(tmp_path):
    """Two shards: user 7 rated 60 movies by time, user 3 two of which one is eval, and one that no train row has."""
    many = [(7, movie, 1.0 + movie % 9 / 2, movie, True) for movie in range(100, 160)]
    few = [(3, 101, 4.5, 20, True), (3, 999, 2.0, 10, True), (3, 102, 5.0, 30, False)]
    for i, rows in enumerate((many, few)):
        schema = {f.USER_ID: pl.Int64, f.MOVIE_ID: pl.Int64, f.RATING: pl.Float32, f.TIMESTAMP: pl.Int64}
        frame = pl.DataFrame(rows, schema={**schema, IS_TRAIN: pl.Boolean}, orient="row")
        frame.sort(f.USER_ID, f.TIMESTAMP, f.MOVIE_ID).write_parquet(tmp_path / f"histories-{i}.parquet")
    return histories.load(str(tmp_path), np.arange(159, 99, -1), movielens())


def lookup(table, user, movie_token, time=10**9, first=None, part=None):
    """Look up by the movie at a place of the vocabulary, 159 first; at place 0 by one that it lacks."""
    movie_id = 160 - movie_token if movie_token else 999
    first = None if first is None else tf.constant([[first]], tf.int64)
    part = None if part is None else tf.constant([[part]])
    row = table.find(*(tf.constant([[value]], tf.int64) for value in (user, movie_id, time)))
    found = table.latest(row, first, part)
    index, stars = (found[name].numpy()[0] for name in (f.USER_HISTORY_TOKENS, f.USER_HISTORY_RATINGS))
    return index[stars > 0].tolist(), stars[stars > 0].tolist()


def test_the_latest_train_ratings_come_first(table):
    assert table.user_ids.tolist() == [7, 3]
    assert table.offsets.tolist() == [0, 60, 62]
    index, stars = lookup(table, 7, 0)
    # Movie 159 is the first of the vocabulary and the latest.
    assert index == list(range(1, WIDTH + 1))
    assert stars == [1.0 + movie % 9 / 2 for movie in range(159, 159 - WIDTH, -1)]


def test_a_rows_own_movie_is_left_out(table):
    index, stars = lookup(table, 7, 5)
    assert index == [i for i in range(1, WIDTH + 1) if i != 5]
    assert len(stars) == f.HISTORY_LENGTH


def test_a_movie_outside_the_vocabulary_and_eval_ratings(table):
    """Movie 999 is the unknown one, place 0, and is history all the same; the eval rating is not."""
    assert lookup(table, 3, 0) == ([59], [4.5]), "an unknown movie may be the row's own"
    assert lookup(table, 3, 1) == ([59, 0], [4.5, 2.0])
    assert lookup(table, 3, 59) == ([0], [2.0])


def test_what_came_after_the_row_is_no_history(table):
    """User 7 rated movie 100 at time 100, movie 101 at time 101, and so on; the vocabulary counts down from 159."""
    assert lookup(table, 7, 0, time=102)[0] == [58, 59, 60]
    assert lookup(table, 7, 59, time=102)[0] == [58, 60]
    assert lookup(table, 7, 0, time=99) == lookup(table, 7, 0, time=0) == ([], [])
    assert lookup(table, 3, 1, time=10) == ([0], [2.0])


def test_the_first_ratings_that_a_user_gave(table):
    assert lookup(table, 7, 0, first=2)[0] == [59, 60]
    assert lookup(table, 7, 60, first=2)[0] == [59]
    assert lookup(table, 7, 0, time=100, first=5)[0] == [60]


def test_a_part_of_what_came_before_the_row_from_the_first_on(table):
    for part, latest in ((0.5, 59), (0.76, 57), (1.0, 57), (1e-6, 60)):
        assert lookup(table, 7, 0, time=103, part=part)[0] == list(range(latest, 61))
    assert lookup(table, 7, 0, time=103, part=0.5, first=1)[0] == [60]
    assert lookup(table, 7, 59, time=103, part=0.5)[0] == [60]
    assert lookup(table, 7, 0, time=99, part=0.5) == ([], [])


def test_a_user_without_train_ratings_has_no_history(table):
    for user in (1, 5, 8):
        assert lookup(table, user, 1) == ([], [])

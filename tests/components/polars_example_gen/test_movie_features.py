import numpy as np
import polars as pl
import pytest

from components.polars_example_gen import movie_features
from schemas import features as f
from schemas.data_spec import movielens

GENRES = movielens().num_categories


def test_movie_features_leave_one_out():
    ratings = pl.DataFrame({f.MOVIE_ID: [1, 1, 1, 2], f.RATING: [5.0, 4.0, 3.0, 1.0], f.TIMESTAMP: [10, 40, 20, 30]})
    catalog = pl.DataFrame(
        {f.MOVIE_ID: [1, 2, 3], f.MOVIE_GENRES: np.eye(3, GENRES, dtype=np.float32)},
        schema_overrides={f.MOVIE_GENRES: pl.Array(pl.Float32, GENRES)},
    ).cast({f.MOVIE_GENRES: pl.List(pl.Float32)})
    statistics = movie_features.movie_statistics(ratings)
    constants = movie_features.feature_constants(statistics, catalog, movielens())
    assert constants.global_mean == pytest.approx(13 / 4)
    assert constants.genre_means[:3] == pytest.approx((4.0, 1.0, 13 / 4))
    assert constants.latest_s == 40

    frame = movie_features.movie_features(catalog, statistics, constants)
    assert frame[f.MOVIE_NUM_RATINGS].to_list() == [3, 1, 0]
    assert frame[f.MOVIE_AVERAGE_RATING].to_list() == pytest.approx([(12 + 16.25) / 8, (1 + 16.25) / 6, 3.25])

    values = {f.MOVIE_NUM_RATINGS: np.array([3.0]), f.MOVIE_AVERAGE_RATING: np.array([(12 + 16.25) / 8])}
    rest = movie_features.leave_one_out_movie_features(values, np.array([5.0]), constants)
    assert rest[f.MOVIE_NUM_RATINGS][0] == 2
    assert rest[f.MOVIE_AVERAGE_RATING][0] == pytest.approx((7 + 16.25) / 7)


def test_partial_statistics_add_up():
    stars, times = [5.0, 4.5, 3.0, 1.0, 0.5, 2.0], [30, 10, 60, 20, 50, 40]
    ratings = pl.DataFrame({f.MOVIE_ID: [1, 2, 1, 3, 2, 1], f.RATING: stars, f.TIMESTAMP: times})
    parts = [movie_features.movie_statistics(ratings[:2]), movie_features.movie_statistics(ratings[2:])]
    assert movie_features.merge_statistics(parts).equals(movie_features.movie_statistics(ratings))


def test_no_train_rating_is_an_error():
    empty = movie_features.movie_statistics(
        pl.DataFrame(schema={f.MOVIE_ID: pl.Int64, f.RATING: pl.Float32, f.TIMESTAMP: pl.Int64})
    )
    with pytest.raises(ValueError, match="no rating is left for training"):
        movie_features.feature_constants(empty, pl.DataFrame(), movielens())

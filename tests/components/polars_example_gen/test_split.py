import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.split import split_by_time
from schemas import features as f
from schemas.ingest import IS_TRAIN


def frame(rows):
    columns = {f.USER_ID: pl.Int64, f.MOVIE_ID: pl.Int64, f.RATING: pl.Float32, f.TIMESTAMP: pl.Int64}
    return pl.DataFrame(rows, schema=columns, orient="row")


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 60), st.just(3.0), st.integers(0, 40)),
        unique_by=lambda row: row[:2],
        max_size=120,
    ),
    st.floats(0.05, 0.9),
)
@settings(deadline=None, max_examples=60)
def test_every_user_keeps_their_first_ratings(rows, fraction):
    split = split_by_time(frame(rows), ExampleGenConfig(eval_fraction=fraction, min_ratings=3))
    assert split.height == len(rows)
    for (_,), own in split.group_by(f.USER_ID):
        train, held = own.filter(IS_TRAIN), own.filter(~pl.col(IS_TRAIN))
        assert train.height >= own.height * (1 - fraction) - 1e-6
        if own.height < 3:
            assert not held.height
        if held.height:
            last, first = (
                rows.select(pl.struct(f.TIMESTAMP, f.MOVIE_ID).alias("at")).to_series()
                for rows in (train.sort(f.TIMESTAMP, f.MOVIE_ID).tail(1), held.sort(f.TIMESTAMP, f.MOVIE_ID).head(1))
            )
            assert tuple(last[0].values()) < tuple(first[0].values()), "by time, and ties by movie"


def test_ties_go_by_movie_id():
    split = split_by_time(frame([(1, m, 3.0, 7) for m in (5, 2, 9, 1, 7, 3, 8, 4, 10, 6)]), ExampleGenConfig())
    assert split.filter(~pl.col(IS_TRAIN))[f.MOVIE_ID].to_list() == [10]


def test_the_share_is_exact_for_ten_ratings():
    """0.9 * 10 must not become 9.000000000000002 and then 10."""
    for n in (10, 20, 30, 70, 100):
        split = split_by_time(frame([(1, m, 3.0, m) for m in range(n)]), ExampleGenConfig(eval_fraction=0.1))
        assert split[IS_TRAIN].sum() == n * 9 // 10


def test_global_cut_off():
    split = split_by_time(frame([(1, m, 3.0, m) for m in range(10)]), ExampleGenConfig(eval_after_s=4))
    assert split.filter(IS_TRAIN)[f.TIMESTAMP].to_list() == [0, 1, 2, 3]


@pytest.mark.parametrize("values", [{"eval_fraction": 0.0}, {"eval_fraction": 1.0}, {"min_ratings": 0}])
def test_values_out_of_range(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        ExampleGenConfig(**values)

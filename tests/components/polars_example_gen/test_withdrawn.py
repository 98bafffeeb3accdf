"""Ratings that were taken back do not come back."""

import dataclasses
import pathlib

import polars as pl
import pytest

from components.polars_example_gen import source
from components.polars_example_gen.checks import BadInputError
from components.polars_example_gen.withdrawn import read_withdrawn, without
from schemas import features as f
from schemas.data_spec import movielens
from schemas.ids import number_of

RATINGS = pl.DataFrame(
    {f.USER_ID: [1, 1, 1, 2, 2, 3], f.MOVIE_ID: [10, 10, 11, 10, 12, 10], f.TIMESTAMP: [5, 9, 5, 5, 6, 7]}
)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n")
    return tmp_path


def read(data: pathlib.Path, text: str) -> pl.DataFrame:
    (data / "withdrawn.csv").write_text(text)
    return read_withdrawn(source.find_sources(str(data), "").get(source.WITHDRAWN), movielens())


def test_what_was_rated_until_then_goes(data):
    withdrawn = read(data, "userId,movieId,timestamp\n1,10,7\n2,,5\n9,9,9\n")
    assert without(RATINGS, withdrawn).rows() == [(1, 10, 9), (1, 11, 5), (2, 12, 6), (3, 10, 7)]


def test_without_such_a_table_nothing_goes(data):
    tables = source.find_sources(str(data), "")
    assert source.WITHDRAWN not in tables
    assert without(RATINGS, read_withdrawn(None, movielens())).equals(RATINGS)


def test_every_span_is_read_whatever_the_window(tmp_path):
    for span in (1, 2, 3):
        (tmp_path / str(span)).mkdir()
        (tmp_path / f"{span}/ratings.csv").write_text("userId,movieId,rating,timestamp\n")
        (tmp_path / f"{span}/withdrawn.csv").write_text(f"userId,movieId,timestamp\n{span},,5\n")
    (tmp_path / "1/movies.csv").write_text("movieId,title,genres\n")
    tables = source.find_sources(f"{tmp_path}/{{SPAN}}", "", span_window=1)
    assert read_withdrawn(tables[source.WITHDRAWN], movielens())[f.USER_ID].to_list() == [1, 2, 3]
    before = source.fingerprint(f"{tmp_path}/{{SPAN}}", span_window=1)
    (tmp_path / "1/withdrawn.csv").write_text("userId,movieId,timestamp\n8,,5\n")
    assert source.fingerprint(f"{tmp_path}/{{SPAN}}", span_window=1) != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("userId,movieId\n1,2\n", "withdrawn.csv is no table of userId,movieId,timestamp"),
        ("userId,movieId,timestamp\n1,2,3\nx,2,3\n", "withdrawn.csv, line 3: 'x,2,3' is no userId,movieId,timestamp"),
        ("userId,movieId,timestamp\n1,y,3\n", "line 2"),
        ("userId,movieId,timestamp\n1,2,\n", "line 2"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(data, text, message):
    with pytest.raises(BadInputError, match=message):
        read(data, text)


def test_keys_that_are_text(data):
    domain = dataclasses.replace(movielens(), text_user_ids=True)
    (data / "withdrawn.csv").write_text("userId,movieId,timestamp\nann,10,7\n")
    table = source.find_sources(str(data), "")[source.WITHDRAWN]
    assert read_withdrawn(table, domain)[f.USER_ID].to_list() == [number_of("ann")]

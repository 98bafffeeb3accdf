"""Every bad input and the message it gives."""

import numpy as np
import polars as pl
import pytest

from components.polars_example_gen import checks, ratings, source
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.chunks import even_chunks
from components.polars_example_gen.header import SCHEMA, read_header
from schemas import features as f
from schemas.data_spec import movielens

HEADER = b"userId,movieId,rating,timestamp\n"
MOVIES = np.arange(1, 9)


def read(directory, chunk_bytes=64):
    """Read a ratings table chunk by chunk; return good rows and the merged report."""
    table = source.find_sources(str(directory), "")[source.RATINGS]
    header = read_header(table)
    parts = [ratings.read_chunk(c, header, MOVIES) for c in even_chunks(table, header.length, chunk_bytes)]
    return pl.concat([frame for frame, _ in parts]), checks.merge_reports(report for _, report in parts)


GOOD = b"".join(b"%d,%d,3.5,1000000%02d\n" % (u, m, m) for u in range(1, 6) for m in range(1, 6))


@pytest.mark.parametrize("chunk_bytes", [1, 7, 33, 64, 10_000])
def test_good_rows_do_not_depend_on_the_chunks(write_data, chunk_bytes):
    frame, report = read(write_data(HEADER + GOOD), chunk_bytes)
    assert report == checks.Report(25)
    assert frame.sort(f.USER_ID, f.MOVIE_ID)[f.MOVIE_ID].to_list() == [1, 2, 3, 4, 5] * 5
    assert dict(frame.schema) == SCHEMA


@pytest.mark.parametrize(
    ("line", "problem", "message"),
    [
        (b"1,6,5.5,100000006", checks.OFF_SCALE, "rating off the scale: expected 0.5 to 5 in steps of 0.5"),
        (b"1,6,0,100000006", checks.OFF_SCALE, "rating off the scale"),
        (b"1,6,3.7,100000006", checks.OFF_SCALE, "rating off the scale"),
        (b"1,6,nan,100000006", checks.OFF_SCALE, "rating off the scale"),
        (b"-1,6,3.5,100000006", checks.NEGATIVE_ID, "negative id or timestamp"),
        (b"1,-6,3.5,100000006", checks.NEGATIVE_ID, "negative id or timestamp"),
        (b"1,6,3.5,-5", checks.NEGATIVE_ID, "negative id or timestamp"),
        (b"1,99,3.5,100000006", checks.UNKNOWN_MOVIE, "rates a movie that the movies table does not hold"),
        (b"1,six,3.5,100000006", checks.UNREADABLE, "is not readable: expected userId,movieId,rating,timestamp"),
        (b"1,6,3.5", checks.UNREADABLE, "is not readable"),
        (b"1,6,3.5,100000006,7", checks.UNREADABLE, "is not readable"),
        (b"1,6,,100000006", checks.UNREADABLE, "is not readable"),
        (b"1.5,6,3.5,100000006", checks.UNREADABLE, "is not readable"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [40, 10_000])
def test_a_bad_row_is_named_with_file_line_and_value(write_data, line, problem, message, chunk_bytes):
    frame, report = read(write_data(HEADER + GOOD + line + b"\n" + b"5,6,4.0,100000009\n"), chunk_bytes)
    assert report.counts == {problem: 1}
    assert frame.height == 26, "the good rows stay"
    with pytest.raises(checks.BadInputError) as error:
        checks.enforce([report], checks.FAIL, 0)
    assert str(error.value).startswith(f"ratings.csv, line 27: {line.decode()!r} ")
    assert message in str(error.value)
    assert "--on-bad-rows drop" in str(error.value)


def test_a_truncated_last_line_is_rejected(write_data):
    for cut in (b"5,6,3.5,1000", b"5,6,3.", b"5,6", b"5"):
        _, report = read(write_data(HEADER + GOOD + cut))
        assert report.counts == {checks.TRUNCATED: 1}, cut
        assert str(report.samples[0]) == (
            f"ratings.csv, line 27: {cut.decode()!r} is cut short: the file ends in the middle of its last line"
        )


def test_a_whole_last_line_without_line_end_is_read(write_data):
    frame, report = read(write_data(HEADER + GOOD + b"5,6,3.5,100000006"))
    assert (frame.height, report.counts) == (26, {})


def test_crlf_and_byte_order_mark_are_read(write_data):
    plain, _ = read(write_data(HEADER + GOOD))
    windows, report = read(write_data(b"\xef\xbb\xbf" + (HEADER + GOOD).replace(b"\n", b"\r\n")))
    assert report.counts == {}
    assert windows.sort(f.USER_ID, f.MOVIE_ID).equals(plain.sort(f.USER_ID, f.MOVIE_ID))
    _, report = read(write_data((HEADER + GOOD + b"1,6,9,1\n").replace(b"\n", b"\r\n")))
    assert report.samples[0].value == "1,6,9,1"


def test_columns_may_stand_in_any_order_with_others_between(write_data):
    data = b"rating,tag,userId,timestamp,movieId\n4.5,x,7,12,3\n"
    frame, _ = read(write_data(data))
    assert frame.rows() == [(7, 3, 4.5, 12)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"userId,movieId,stars,timestamp\n1,1,3,4\n", r"ratings.csv, line 1: the column rating is missing \(found: "),
        (b"", "ratings.csv is empty; expected a header with userId, movieId, rating, timestamp"),
        (HEADER, "ratings.csv holds a header and no rows"),
    ],
)
def test_missing_columns_and_empty_files(write_data, data, message):
    with pytest.raises(checks.BadInputError, match=message):
        read(write_data(data))


def test_duplicates_keep_the_latest_and_are_located(write_data):
    directory = write_data(HEADER + GOOD + b"2,3,5.0,100000099\n")
    frame, _ = read(directory)
    kept, dropped = ratings.drop_duplicates(frame)
    assert kept.height == 25
    assert dropped.rows() == [(2, 3, 3.5, 100000003)]
    table = source.find_sources(str(directory), "")[source.RATINGS]
    header = read_header(table)
    for chunk_bytes in (40, 10_000):
        row = ratings.locate_duplicate({table: header}, 2, 3, chunk_bytes)
        assert str(row) == (
            "ratings.csv, line 27: '2,3,5.0,100000099' rates a movie that the same user has rated already"
        )


def test_parquet_equals_csv_and_names_its_rows(write_data, tmp_path):
    directory = write_data(HEADER + GOOD)
    expected, _ = read(directory)
    table = pl.read_csv(directory / "ratings.csv")
    (directory / "ratings.csv").unlink()
    table.write_parquet(directory / "ratings.parquet", row_group_size=7)
    frame, report = read(directory)
    assert report == checks.Report(25)
    assert frame.sort(f.USER_ID, f.MOVIE_ID).equals(expected.sort(f.USER_ID, f.MOVIE_ID))

    bad = pl.concat([table, pl.DataFrame({"userId": [3], "movieId": [7], "rating": [9.0], "timestamp": [5]})])
    bad.write_parquet(directory / "ratings.parquet", row_group_size=7)
    _, report = read(directory)
    assert str(report.samples[0]).startswith("ratings.parquet, row 26: '3,7,9.0,5' has a rating off the scale")

    table.with_columns(userId=pl.col("userId").cast(pl.String)).with_columns(
        userId=pl.when(pl.col("movieId") == 2).then(pl.lit("x")).otherwise("userId")
    ).write_parquet(directory / "ratings.parquet")
    _, report = read(directory)
    assert report.counts == {checks.UNREADABLE: 5}


def test_the_limit_of_drop():
    report = checks.Report(200, {checks.OFF_SCALE: 3}, (checks.BadRow(checks.OFF_SCALE, "ratings.csv", 9, "x"),))
    checks.enforce([report], checks.DROP, 0.015)
    with pytest.raises(
        checks.BadInputError, match=r"3 of 200 rows are bad \(3 off_scale\), more than the limit of 1.00%"
    ):
        checks.enforce([report], checks.DROP, 0.01)


def movies(directory):
    return read_movies(source.find_sources(str(directory), "")[source.MOVIES])[:2]


def test_quoted_titles_commas_non_ascii_and_years(write_data):
    data = (
        "\ufeffmovieId,title,genres\r\n"
        '3,"American President, The (1995)",Comedy|Drama\r\n'
        '1,"""Great"" Café, Le (Ângel) (2001)",(no genres listed)\r\n'
        "2,Babylon 5,Sci-Fi\r\n"
        "5,Futurama (9999),Animation\r\n"
        "4,Twin Peaks (1989-1990),Drama\r\n"
    )
    catalog, report = movies(write_data(HEADER, data))
    assert report.counts == {}
    assert catalog["movie_id"].to_list() == [1, 2, 3, 4, 5]
    assert catalog["title"].to_list()[:3] == [
        '"Great" Café, Le (Ângel) (2001)',
        "Babylon 5",
        "American President, The (1995)",
    ]
    assert catalog["year"].to_list() == [2001, None, 1995, 1989, None]
    assert catalog["movie_year"].to_list() == [2001, 1995, 1995, 1989, 1995], "imputed by the median"
    genres = np.stack(catalog["movie_genres"].to_numpy())
    assert [list(np.array(movielens().categories)[row > 0]) for row in genres] == [
        ["(no genres listed)"],
        ["Sci-Fi"],
        ["Comedy", "Drama"],
        ["Drama"],
        ["Animation"],
    ]


@pytest.mark.parametrize(
    ("line", "problem", "message"),
    [
        ("x,Seven (1995),Drama", checks.UNREADABLE, "is not readable: expected movieId,title,genres"),
        ("-4,Seven (1995),Drama", checks.NEGATIVE_ID, "negative id"),
        ("1,Seven (1995),Drama", checks.DUPLICATE_MOVIE, "repeats a movie id"),
        (
            "4,Seven (1995),Drama|Thrilling",
            checks.UNKNOWN_GENRE,
            "has a category that is not one of (no genres listed), Action, ",
        ),
    ],
)
def test_bad_movies(write_data, line, problem, message):
    catalog, report = movies(write_data(HEADER, f"movieId,title,genres\n1,One (1999),Drama\n{line}\n"))
    assert report.counts == {problem: 1}
    assert str(report.samples[0]).startswith(f"movies.csv, line 3: {line!r} ")
    assert message in str(report.samples[0])
    assert catalog.height == (2 if problem == checks.UNKNOWN_GENRE else 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("movieId,name,genres\n1,One,Drama\n", "movies.csv, line 1: the column title is missing"),
        ("", "movies.csv is empty"),
        ("movieId,title,genres\n", "movies.csv holds a header and no rows"),
        ("movieId,title,genres\nx,One,Drama\n", "movies.csv holds no movie"),
    ],
)
def test_unusable_movies(write_data, data, message):
    with pytest.raises(checks.BadInputError, match=message):
        movies(write_data(HEADER, data))

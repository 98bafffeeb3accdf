"""Tables as other programs write them: the same rows, whatever the dialect and wherever the chunks end."""

import bz2
import csv
import datetime
import decimal
import gzip
import io
import lzma
import zipfile

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.polars_example_gen import checks, ratings, source
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.chunks import cut
from components.polars_example_gen.header import read_header, read_headers
from schemas import features as f
from schemas.ingest import GENRE_NAMES

MOVIES = np.arange(1, 41)
COLUMNS = ["userId", "movieId", "rating", "timestamp"]
ROWS = [(user, movie, (movie % 10 + 1) / 2, 1_500_000_000 + movie) for user in range(1, 13) for movie in range(1, 21)]


def read(directory, chunk_bytes=1 << 20):
    """Read a ratings table chunk by chunk; return its good rows, sorted, and the report of the checks."""
    table = source.find_sources(str(directory), str(directory / "extracted"))[source.RATINGS]
    parts = [
        ratings.read_chunk(chunk, header, MOVIES)
        for file, header in read_headers(table, 1 << 20).items()
        for chunk in cut(file, header, chunk_bytes, 1 << 20)
    ]
    return sorted(pl.concat([frame for frame, _ in parts]).rows()), checks.merge_reports(report for _, report in parts)


def table(rows=ROWS, columns=COLUMNS, **dialect):
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n", **dialect}).writerows([columns, *rows])
    return text.getvalue()


@pytest.mark.parametrize("chunk_bytes", [64, 1000, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        table(),
        table().rstrip("\n"),
        table().replace(",", ", "),
        table().replace(",", ", ").rstrip("\n"),
        table(quoting=csv.QUOTE_ALL),
        table(lineterminator="\r\n"),
        table(lineterminator="\r"),
        table() + "\n\n",
        table([(f"{u}.0", f"{m}.0", r, f"{t}.0") for u, m, r, t in ROWS]),
        table([(u, m, r, f"{t:.9e}") for u, m, r, t in ROWS]),
        table([(*row, "a note, and a comma") for row in ROWS], [*COLUMNS, "review"]),
        table([(*row, "a note, and a comma") for row in ROWS], [*COLUMNS, "review"]).rstrip("\n"),
        table([(*row, 'two\nlines, one of them "odd"\r\n') for row in ROWS], [*COLUMNS, "review"]),
        table([(f"Doe, {u}", u, m, r, t) for u, m, r, t in ROWS], ["name", *COLUMNS]),
    ],
)
def test_every_dialect_gives_the_same_rows(write_data, text, chunk_bytes):
    rows, report = read(write_data(text), chunk_bytes)
    assert report == checks.Report(len(ROWS))
    assert rows == ROWS


NOTES = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=12) | st.text('",\n\r a', max_size=6)


@given(
    notes=st.lists(NOTES, min_size=1, max_size=12),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    final=st.booleans(),
    first=st.booleans(),
    chunk_bytes=st.integers(1, 200),
)
@settings(deadline=None, max_examples=150)
def test_any_notes_beside_the_ratings(tmp_path_factory, notes, quoting, end, final, first, chunk_bytes):
    rows = ROWS[: len(notes)]
    written = [(note, *row) if first else (*row, note) for note, row in zip(notes, rows, strict=True)]
    columns = ["note", *COLUMNS] if first else [*COLUMNS, "note"]
    text = table(written, columns, quoting=quoting, lineterminator=end)
    directory = tmp_path_factory.mktemp("data")
    (directory / "ratings.csv").write_bytes((text if final else text.removesuffix(end)).encode())
    (directory / "movies.csv").write_text("movieId,title,genres\n1,One,Drama\n")
    found, report = read(directory, chunk_bytes)
    assert report == checks.Report(len(rows))
    assert found == rows


@pytest.mark.parametrize("chunk_bytes", [64, 300, 1 << 20])
@pytest.mark.parametrize("value", ['1,2,x5,1500000000,"a note, and a comma"', '1,2,3.5,1500000000,"never closed'])
def test_a_bad_row_costs_itself_alone(write_data, value, chunk_bytes):
    lines = table([(*row, "a note, and a comma") for row in ROWS], [*COLUMNS, "review"]).splitlines()
    lines.insert(81, value)
    rows, report = read(write_data("\n".join(lines) + "\n"), chunk_bytes)
    assert rows == ROWS
    assert report.counts == {checks.UNREADABLE: 1}
    assert str(report.samples[0]).startswith(f"ratings.csv, line 82: {value!r} is not readable")


def test_a_duplicate_is_found_behind_a_quoted_comma(write_data):
    text = table([(f"Doe, {u}", u, m, r, t) for u, m, r, t in [*ROWS, ROWS[5]]], ["name", *COLUMNS])
    found = source.find_sources(str(write_data(text)), "")[source.RATINGS]
    row = ratings.locate_duplicate({found: read_header(found)}, *ROWS[5][:2], 200)
    assert (row.line, row.problem) == (len(ROWS) + 2, checks.DUPLICATE)


@pytest.mark.parametrize("factor", [1_000, 1_000_000])
def test_times_that_are_no_seconds_are_named(write_data, factor):
    rows, report = read(write_data(table([(u, m, r, t * factor) for u, m, r, t in ROWS])))
    assert (rows, report.counts) == ([], {checks.NO_TIME: len(ROWS)})
    assert "divide milliseconds by 1,000" in str(report.samples[0])


SECONDS = [row[3] for row in ROWS]
TIMES = [datetime.datetime.fromtimestamp(second, datetime.timezone.utc).replace(tzinfo=None) for second in SECONDS]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        *(("timestamp", pa.array(TIMES, pa.timestamp(unit))) for unit in ("s", "ms", "us", "ns")),
        ("timestamp", pa.array(TIMES, pa.timestamp("us")).cast(pa.timestamp("us", "Asia/Tokyo"))),
        ("timestamp", pa.array([float(second) for second in SECONDS])),
        ("rating", pa.array([decimal.Decimal(str(row[2])) for row in ROWS])),
        ("userId", pa.array([row[0] for row in ROWS], pa.uint64())),
        ("userId", pa.array([str(row[0]) for row in ROWS]).dictionary_encode()),
        ("movieId", pa.array([f"{row[1]}" for row in ROWS], pa.large_string())),
        ("movieId", pa.array([float(row[1]) for row in ROWS])),
    ],
)
def test_parquets_types(write_data, column, values):
    plain = {name: pa.array([row[place] for row in ROWS]) for place, name in enumerate(COLUMNS)}
    directory = write_data("")
    (directory / "ratings.csv").unlink()
    pq.write_table(pa.table({**plain, column: values}), directory / "ratings.parquet")
    rows, report = read(directory)
    assert report == checks.Report(len(ROWS))
    assert rows == ROWS


def test_dates_are_midnights_in_utc(write_data):
    directory = write_data("")
    (directory / "ratings.csv").unlink()
    days = pa.array([datetime.date(2017, 7, 14)], pa.date32())
    pq.write_table(
        pa.table({"userId": [1], "movieId": [2], "rating": [3.5], "timestamp": days}), directory / "ratings.parquet"
    )
    assert read(directory)[0] == [(1, 2, 3.5, 1_499_990_400)]


@pytest.mark.parametrize("values", [pa.array([[1]]), pa.array([True]), pa.array([datetime.time(1, 2)])])
def test_a_type_that_is_no_number_is_named(write_data, values):
    directory = write_data("")
    (directory / "ratings.csv").unlink()
    pq.write_table(
        pa.table({"userId": [1], "movieId": [2], "rating": [3.5], "timestamp": values}), directory / "ratings.parquet"
    )
    with pytest.raises(
        checks.BadInputError, match=r"ratings.parquet: the column timestamp has the type .*; write it as"
    ):
        read(directory)


def movies(directory):
    return read_movies(source.find_sources(str(directory), str(directory / "extracted"))[source.MOVIES])[:2]


@pytest.mark.parametrize(
    ("text", "problem", "line", "value"),
    [
        ("1,One (1999),Drama\n2,Two (1999)", checks.TRUNCATED, 3, "2,Two (1999)"),
        ("1,One (1999),Drama\n2,Two (1999)\n3,Three,Drama\n", checks.UNREADABLE, 3, "2,Two (1999)"),
        (
            "1,One (1999),Drama\n2,Two, Too (1999),Drama\n3,Three,Drama\n",
            checks.UNREADABLE,
            3,
            "2,Two, Too (1999),Drama",
        ),
        ('1,One (1999),Drama\n2,"Two,Drama\n3,Three,Drama\n', checks.UNREADABLE, 3, '2,"Two,Drama'),
        ("1,One (1999),Drama\n\n2,,Drama\n", checks.UNREADABLE, 4, "2,,Drama"),
    ],
)
def test_movies_that_are_cut_or_torn_are_named(write_data, text, problem, line, value):
    catalog, report = movies(write_data("", "movieId,title,genres\n" + text))
    assert report.counts == {problem: 1}
    assert (report.samples[0].line, report.samples[0].value) == (line, value)
    assert 2 not in catalog[f.MOVIE_ID]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
def test_movies_of_any_line_end(write_data, end):
    text = end.join(["movieId,title,genres", '1.0,"One, Two (1999)",Drama', "2,Three,Comedy|Drama", ""])
    catalog, report = movies(write_data("", text.encode()))
    assert report == checks.Report(2)
    assert catalog.select(f.MOVIE_ID, "title").rows() == [(1, "One, Two (1999)"), (2, "Three")]


def test_movies_parquet_with_lists_and_floating_ids(write_data):
    directory = write_data("")
    (directory / "movies.csv").unlink()
    columns = {"movieId": [2.0, 1.0], "title": ["Two", "One"], "genres": [["Drama", "Comedy"], ["Drama"]]}
    pq.write_table(pa.table(columns), directory / "movies.parquet")
    catalog, report = movies(directory)
    assert report == checks.Report(2)
    assert catalog[f.MOVIE_ID].to_list() == [1, 2]
    assert catalog[GENRE_NAMES].to_list() == [["Drama"], ["Drama", "Comedy"]]


@pytest.fixture
def parted(write_data):
    """Write both tables as directories of parts, in one format."""

    def write(form):
        directory = write_data("")
        for name in ("ratings", "movies"):
            (directory / f"{name}.csv").unlink()
            (directory / f"{name}.{form}").mkdir()
            (directory / f"{name}.{form}" / "_SUCCESS").touch()
        movies = pl.DataFrame({"movieId": range(1, 41), "title": "One (1999)", "genres": "Drama"})
        columns = pl.DataFrame(ROWS, schema=COLUMNS, orient="row")
        for name, table, rows in (("ratings", columns, 70), ("movies", movies, 30)):
            for place in range(0, table.height + rows, rows):  # The last part has a header and no rows.
                path = directory / f"{name}.{form}" / f"part-{place:05d}.{form}"
                getattr(table[place : place + rows], f"write_{form}")(path)
        return directory

    return write


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_directory_of_parts_is_a_table(parted, form):
    directory = parted(form)
    assert read(directory, 300) == (ROWS, checks.Report(len(ROWS)))
    catalog, report = movies(directory)
    assert (catalog.height, report) == (40, checks.Report(40))
    before = source.fingerprint(str(directory))
    part = directory / f"ratings.{form}" / f"part-00070.{form}"
    pl.DataFrame([ROWS[0]], schema=COLUMNS, orient="row").write_csv(part) if form == "csv" else part.unlink()
    assert source.fingerprint(str(directory)) != before


def test_a_bad_row_of_a_part_is_named_with_its_part(parted):
    directory = parted("csv")
    part = directory / "ratings.csv" / "part-00070.csv"
    part.write_text(part.read_text() + "1,2,9.5,1500000000\n")
    assert str(read(directory)[1].samples[0]).startswith(
        "ratings.csv/part-00070.csv, line 72: '1,2,9.5,1500000000' has"
    )
    part.write_text(",".join(COLUMNS) + "\n1,1,3.5,1500000000\n")
    headers = read_headers(source.find_sources(str(directory), "")[source.RATINGS], 1000)
    row = ratings.locate_duplicate(headers, 1, 1, 1000)
    assert (row.file, row.line) == ("ratings.csv/part-00070.csv", 2)
    part = directory / "movies.csv" / "part-00030.csv"
    part.write_text("movieId,title,genres\n41,Cut (1999)")
    assert str(movies(directory)[1].samples[0]).startswith("movies.csv/part-00030.csv, line 2: '41,Cut (1999)' is cut")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "without .csv files"),
        (("part-0.txt",), "holds part-0.txt; expected .csv files"),
        (("a.csv",), "holds no rows"),
    ],
)
def test_directories_that_are_no_table(write_data, names, message):
    directory = write_data("")
    (directory / "ratings.csv").unlink()
    (directory / "ratings.csv").mkdir()
    for name in names:
        (directory / "ratings.csv" / name).write_text("")
    with pytest.raises(ValueError, match=message):
        read(directory)


@pytest.mark.parametrize(("suffix", "module"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_compressed_tables(write_data, suffix, module):
    directory = write_data("")
    for name, text in (("ratings", table()), ("movies", "movieId,title,genres\n1,One (1999),Drama\n")):
        (directory / f"{name}.csv").unlink()
        (directory / f"{name}.csv.{suffix}").write_bytes(module.compress(text.encode()))
    assert read(directory, 300) == (ROWS, checks.Report(len(ROWS)))
    assert movies(directory)[0].height == 1
    source.fingerprint(str(directory))
    packed = directory / f"ratings.csv.{suffix}"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"ratings.csv.{suffix} cannot be unpacked"):
        read(directory)
    packed.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=f"ratings.csv.{suffix} cannot be unpacked"):
        read(directory)


def test_a_compressed_table_is_unpacked_up_to_a_bound(write_data):
    directory = write_data("")
    (directory / "ratings.csv").unlink()
    (directory / "ratings.csv.gz").write_bytes(gzip.compress(bytes(70 << 20)))
    with pytest.raises(ValueError, match=r"unpacks to more than 67,108,864 bytes; .*--max-unpacked-ratio"):
        read(directory)


def zipped(path, *members):
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, f"{name}\n")
    return path


@pytest.mark.parametrize(
    "members",
    [
        ("ratings.csv", "movies.csv"),
        ("ml/movies.csv", "ml/ratings.csv", "ml/old/ratings.csv", "ml/old/movies.csv"),
        ("ml/old/ratings.csv", "ml/movies.csv", "ml/ratings.csv"),
        ("a/b/ratings.csv", "a/b/movies.csv", "__MACOSX/ratings.csv", "__MACOSX/movies.csv", "a/._ratings.csv"),
        ("v1/ratings.csv", "v1/movies.csv", "v2/ratings.parquet"),
    ],
)
def test_of_a_zips_data_sets_the_uppermost_whole_one_is_meant(tmp_path, members):
    found = source.find_sources(str(zipped(tmp_path / "ml.zip", *members)), str(tmp_path / "out"))
    with found[source.RATINGS].open() as file:
        wanted = next(
            name for name in ("ratings.csv", "ml/ratings.csv", "a/b/ratings.csv", "v1/ratings.csv") if name in members
        )
        assert file.read().decode() == f"{wanted}\n"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (("a/ratings.csv", "a/movies.csv", "b/ratings.csv", "b/movies.csv"), "more than once .*a/ratings.csv.*b/"),
        (
            ("ratings.csv", "ratings.parquet", "movies.csv"),
            r"more than once \(ratings.csv, ratings.parquet, movies.csv",
        ),
        (("ml.zip",), r"inner/ml.zip is neither"),
        (("a/ratings.csv", "b/movies.csv"), "no folder with both"),
        ((), "inside: nothing"),
    ],
)
def test_a_zip_of_which_no_one_knows_what_is_meant(tmp_path, members, message):
    with pytest.raises(ValueError, match=message):
        source.find_sources(str(zipped(tmp_path / "ml.zip", *members)), str(tmp_path / "out"))

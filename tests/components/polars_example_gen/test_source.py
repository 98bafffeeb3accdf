import os
import shutil
import zipfile

import fsspec
import pytest

from components.polars_example_gen import source
from components.polars_example_gen.chunks import count_lines, even_chunks, read_bytes
from schemas.ingest import SPAN


def zipped(directory, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("ratings.csv", "movies.csv"):
            archive.write(directory / name, f"ml-test/{name}")
    return path


def test_a_zip_is_unpacked(sample, tmp_path):
    archive = zipped(sample, tmp_path / "data.zip")
    found = source.find_sources(str(archive), str(tmp_path / "unpacked"))
    with found[source.RATINGS].open() as file:
        assert file.read() == (sample / "ratings.csv").read_bytes()


def test_a_uri_is_read_in_ranges(sample):
    """fsspec's memory file system stands for every remote one."""
    fs = fsspec.filesystem("memory")
    for name in ("ratings.csv", "movies.csv"):
        fs.pipe(f"/lens/{name}", (sample / name).read_bytes())
    table = source.find_sources("memory://lens", "")[source.RATINGS]
    assert table.path == "memory:///lens/ratings.csv"
    header = len(b"userId,movieId,rating,timestamp\n")
    data = b"".join(read_bytes(chunk, 1000)[0] for chunk in even_chunks(table, header, 1000))
    assert data == (sample / "ratings.csv").read_bytes()[header:]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no data at"),
        ("empty", "holds no ratings.csv or ratings.parquet"),
        ("text.zip", "neither a directory nor an archive"),
    ],
)
def test_unusable_data_sets(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(ValueError, match=message):
        source.find_sources(str(tmp_path / name), str(tmp_path / "unpacked"))


def test_the_fingerprint_is_of_the_content(write_data, tmp_path):
    directory = write_data("userId,movieId,rating,timestamp\n1,1,3.0,5\n")
    before = source.fingerprint(str(directory))
    os.utime(directory / "ratings.csv", (1e9, 1e9))
    assert source.fingerprint(str(directory)) == before
    status = os.stat(directory / "ratings.csv")
    (directory / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,5\n")
    os.utime(directory / "ratings.csv", (status.st_atime, status.st_mtime))
    assert source.fingerprint(str(directory)) != before, "same size and time, other content"
    archive = zipped(directory, tmp_path / "data.zip")
    of_archive = source.fingerprint(str(archive))
    os.utime(archive, (1e9, 1e9))
    assert source.fingerprint(str(archive)) == of_archive
    (directory / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,2.0,5\n")
    assert source.fingerprint(str(zipped(directory, archive))) != of_archive


def test_lines_are_counted_up_to_an_offset(write_data):
    directory = write_data("userId,movieId,rating,timestamp\n1,1,3.0,5\n1,2,3.0,5\n")
    table = source.find_sources(str(directory), "")[source.RATINGS]
    assert [count_lines(table, offset) for offset in (0, 31, 32, 42, 52)] == [0, 0, 1, 2, 3]


@pytest.fixture
def days(tmp_path):
    """Three spans of ratings, the first and the last with movies."""
    for span, rows, movies in ((1, "1,1,4,100\n", "1"), (2, "1,2,4,200\n2,1,3,210\n", ""), (10, "2,2,5,300\n", "2")):
        directory = tmp_path / f"day-{span}"
        directory.mkdir()
        (directory / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + rows)
        if movies:
            (directory / "movies.csv").write_text("movieId,title,genres\n" + f"{movies},A (2000),Drama\n")
    (tmp_path / "day-old").mkdir()
    return f"{tmp_path}/day-{SPAN}"


def test_spans_are_one_table_in_the_order_of_their_numbers(days, tmp_path):
    assert list(source.spans(days)) == [1, 2, 10]
    found = source.find_sources(days, "")
    assert [part.name for part in found[source.RATINGS].files] == ["1/ratings.csv", "2/ratings.csv", "10/ratings.csv"]
    assert found[source.MOVIES].path == str(tmp_path / "day-10/movies.csv"), "the latest table of movies"
    latest = source.find_sources(days, "", span_window=2)[source.RATINGS]
    assert [part.name for part in latest.files] == ["2/ratings.csv", "10/ratings.csv"]


def test_a_new_span_changes_the_fingerprint_and_one_outside_of_the_window_does_not(days, tmp_path):
    before, window = source.fingerprint(days), source.fingerprint(days, span_window=2)
    assert before != window
    (tmp_path / "day-1/ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,5,100\n")
    assert source.fingerprint(days, span_window=2) == window
    assert source.fingerprint(days) != before
    shutil.copytree(tmp_path / "day-2", tmp_path / "day-11")
    assert source.fingerprint(days, span_window=2) != window


def test_what_is_wrong_with_spans_is_said(days, tmp_path):
    with pytest.raises(ValueError, match="no directory has a number in place of"):
        source.find_sources(f"{tmp_path}/month-{SPAN}", "")
    (tmp_path / "day-2/ratings.csv").rename(tmp_path / "day-2/rating.csv")
    with pytest.raises(ValueError, match=r"day-2 holds no ratings.csv"):
        source.find_sources(days, "")
    (tmp_path / "day-2/rating.csv").rename(tmp_path / "day-2/ratings.parquet")
    with pytest.raises(ValueError, match="as CSV and as Parquet"):
        source.find_sources(days, "")

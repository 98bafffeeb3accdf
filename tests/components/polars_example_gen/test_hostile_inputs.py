"""Data sets that nobody means well with: each is refused in few words, whatever its size."""

import numpy as np
import pytest

from benchmarks.faults.inputs import HOSTILE, write_hostile
from components.polars_example_gen import catalog, checks, ratings, source
from components.polars_example_gen.chunks import even_chunks
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.header import read_header


def read(data, unpacked, chunk_bytes=ExampleGenConfig.chunk_bytes):
    """Read a data set as the component does."""
    tables = source.find_sources(str(data), str(unpacked))
    movies, report, _ = catalog.read_movies(tables[source.MOVIES])
    checks.enforce([report], checks.FAIL, 0)
    table = tables[source.RATINGS]
    header = read_header(table)
    for chunk in even_chunks(table, header.length, chunk_bytes):
        _, report = ratings.read_chunk(chunk, header, np.array(movies["movie_id"]))
        checks.enforce([report], checks.FAIL, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_inputs_are_refused_in_few_words(tmp_path, name):
    data = write_hostile(name, tmp_path / "data")
    with pytest.raises(ValueError, match=r".") as refused:
        read(data, tmp_path / "unpacked")
    assert len(str(refused.value)) < 700
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("chunk_bytes", [1 << 10, 1 << 20])
@pytest.mark.parametrize("last", [True, False])
def test_a_long_line_is_one_bad_row(write_data, chunk_bytes, last):
    """Whether it ends in its chunk or goes on over many, and whatever follows; the rows around it are read."""
    good = "".join(f"{user},1,4.0,{10**9 + user}\n" for user in range(1, 301))
    end = "" if last else good.replace(",1,", ",2,")
    text = f"userId,movieId,rating,timestamp\n{good}7,2,3.5,{'9' * 3_000_000}\n{end}"
    data = write_data(text, "movieId,title,genres\n1,A,Drama\n2,B,Drama\n")
    table = source.find_sources(str(data), "")[source.RATINGS]
    header = read_header(table)
    chunks = even_chunks(table, header.length, chunk_bytes)
    parts = [ratings.read_chunk(chunk, header, np.array([1, 2]), max_line_bytes=1 << 20) for chunk in chunks]
    report = checks.merge_reports(part for _, part in parts)
    assert sum(frame.height for frame, _ in parts) == (300 if last else 600)
    assert report.counts == {checks.UNREADABLE: 1}
    assert report.samples[0].line == 302
    assert len(report.samples[0].value) < 300


def test_a_zip_may_be_said_to_unpack_to_more(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_SMALL_BYTES", 1000)
    data = write_hostile("a zip bomb", tmp_path / "data")
    with pytest.raises(ValueError, match=r"bomb.zip unpacks to more than [\d,]+ bytes.*--max-unpacked-ratio"):
        source.find_sources(str(data), str(tmp_path / "unpacked"), 10)
    assert set(source.find_sources(str(data), str(tmp_path / "unpacked"), 2000)) == {source.RATINGS, source.MOVIES}

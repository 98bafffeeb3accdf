import numpy as np
import polars as pl
import pytest
from scipy import sparse

from components import rating_biases
from components.polars_example_gen import checks, ratings, source
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.chunks import even_chunks
from components.polars_example_gen.header import read_header
from pipeline import data_sample
from pipeline.data_sample import SampleConfig, write_sample

CONFIG = SampleConfig(users=200, movies=400, ratings=12_000, seed=1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sample")
    write_sample(str(directory), CONFIG)
    return directory


def test_the_seed_gives_the_bytes(written, tmp_path):
    write_sample(str(tmp_path / "again"), CONFIG)
    write_sample(str(tmp_path / "other"), SampleConfig(users=200, movies=400, ratings=12_000, seed=2))
    for name in ("ratings.csv", "movies.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (written / name).read_bytes()


def test_it_passes_every_input_check(written):
    found = source.find_sources(str(written), "")
    catalog, report, _ = read_movies(found[source.MOVIES])
    assert (catalog.height, report.counts) == (400, {})
    table = found[source.RATINGS]
    header = read_header(table)
    (chunk,) = even_chunks(table, header.length, 1 << 30)
    frame, report = ratings.read_chunk(chunk, header, catalog["movie_id"].to_numpy())
    assert report == checks.Report(frame.height)
    assert not ratings.drop_duplicates(frame)[1].height
    assert frame.height == pytest.approx(12_000, rel=0.05)
    assert frame["user_id"].n_unique() == 200


def test_it_has_structure(written):
    """Biases explain part of the ratings, popularity is skewed, users come in sessions over time."""
    table = pl.read_csv(written / "ratings.csv")
    user, movie = table["userId"].to_numpy() - 1, table["movieId"].to_numpy() - 1
    stars = table["rating"].to_numpy()
    mean, of_user, of_movie = rating_biases.fit([sparse.csr_matrix((stars, (user, movie)), (200, 400))])
    explained = 1 - np.var(stars - mean - of_user[user] - of_movie[movie]) / np.var(stars)
    assert 0.2 < explained < 0.7
    counts = np.sort(np.bincount(movie, minlength=400))[::-1]
    assert counts[:40].sum() > 0.2 * counts.sum()
    gaps = table.sort("userId", "timestamp").select(pl.col("timestamp").diff().over("userId")).to_series().drop_nulls()
    assert gaps.median() < 120, "seconds inside a session"
    assert gaps.max() > 86_400 * 7, "weeks between sessions"
    assert table["timestamp"].is_between(data_sample._FIRST_S, data_sample._LAST_S).all()
    titles = pl.read_csv(written / "movies.csv")["title"]
    assert titles.str.contains(",").any()
    assert titles.str.contains('"').any()
    assert titles.n_unique() == 400


def test_the_most_active_user_rates_within_the_years_too(tmp_path):
    write_sample(str(tmp_path), SampleConfig(users=1, movies=40_000, ratings=20_000))
    times = pl.read_csv(tmp_path / "ratings.csv")["timestamp"]
    assert len(times) > 19_000
    assert times.is_between(data_sample._FIRST_S, data_sample._LAST_S).all()


def test_a_larger_sample_is_written_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr(data_sample, "_BLOCK_RATINGS", 2_000)
    blocks = []
    rows = write_sample(str(tmp_path), CONFIG, blocks.append)
    assert len(blocks) > 4
    assert sum(blocks) == rows == pl.read_csv(tmp_path / "ratings.csv").height
    assert pl.read_csv(tmp_path / "ratings.csv")["userId"].n_unique() == 200
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    "values", [{"users": 0}, {"movies": 5}, {"users": 100, "ratings": 1_999}], ids=["users", "movies", "ratings"]
)
def test_impossible_sizes(values):
    with pytest.raises(ValueError, match=r"users|movies"):
        SampleConfig(**values)

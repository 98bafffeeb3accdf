"""What is said before TFX is loaded: of data that is missing, bad, too small, or lacks who is asked for."""

import gzip
import subprocess
import sys

import polars as pl
import pytest

from pipeline import preflight
from pipeline.config import RunConfig, load
from pipeline.data_sample import SampleConfig, write_sample
from tests.workspace import ROOT


@pytest.fixture
def data(tmp_path):
    """A small data set that a test may change."""
    write_sample(str(tmp_path), SampleConfig(users=20, movies=100, ratings=600))
    return tmp_path


def check(data, user=None, **options):
    preflight.check_input(load(None, options), str(data), user)


def test_good_data_passes(data):
    check(data)
    check(data, user="20")
    check(data, index_factory="HNSW32")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user": "21"}, "--user 21 is not in the data: 20 users, 1 to 20"),
        ({"batch_size": 1000}, "a batch has 1,000 rows and the data 600 ratings"),
        ({"index_factory": "IVF4096,Flat"}, "makes no index for 100 movies"),
    ],
)
def test_what_an_option_asks_too_much_of(data, options, message):
    with pytest.raises(ValueError, match=message):
        check(data, **options)


def test_data_that_is_too_small_says_what_it_takes(data):
    ratings = pl.read_csv(data / "ratings.csv")
    ratings.group_by("userId", maintain_order=True).head(1).write_csv(data / "ratings.csv")
    with pytest.raises(ValueError, match=r"none of the 20 users has more than 1 rating; .* a user needs 2 at least"):
        check(data)
    check(data, eval_after_s=1_500_000_000)
    movie = ratings["movieId"][0]
    ratings.filter(pl.col("movieId") == movie).write_csv(data / "ratings.csv")
    pl.read_csv(data / "movies.csv").filter(pl.col("movieId") == movie).write_csv(data / "movies.csv")
    with pytest.raises(ValueError, match=r"there is 1 movie; .* takes 2"):
        check(data)


def test_both_tables_are_named_at_once(data):
    with open(data / "ratings.csv", "a") as file:
        file.write("1,1,x,1500000000\n")
    with open(data / "movies.csv", "a") as file:
        file.write("x,X,Drama\n")
    with pytest.raises(ValueError, match=r"movies.csv, line 102: .*; ratings.csv, line 602: .*\(column rating\)"):
        check(data)
    check(data, on_bad_rows="drop")
    with pytest.raises(ValueError, match=r"more than the limit of 0\.10%"):
        check(data, on_bad_rows="drop", max_bad_rows=0.001)


def test_what_is_larger_is_left_to_the_pipeline(data, monkeypatch):
    monkeypatch.setattr(preflight, "_SMALL_BYTES", 1000)
    check(data, user="nobody")
    monkeypatch.undo()
    packed = gzip.compress((data / "ratings.csv").read_bytes())
    (data / "ratings.csv").unlink()
    (data / "ratings.csv.gz").write_bytes(packed)
    with pytest.raises(ValueError, match="--user nobody is not"):
        check(data, user="nobody")
    monkeypatch.setattr(preflight, "_SMALL_PACKED_BYTES", 1000)
    check(data, user="nobody")


def test_a_missing_path_is_said_without_loading_what_takes_long():
    code = (
        "import sys\nfrom pipeline import preflight\nfrom pipeline.config import RunConfig\n"
        "try:\n    preflight.check_input(RunConfig(), 'nowhere', None)\n"
        "except ValueError as error:\n    print(error)\nprint({'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("no data at 'nowhere'; pass a directory")
    assert done.stdout.endswith("set()\n")


def test_what_lies_behind_a_uri_is_left_to_the_pipeline():
    preflight.check_input(RunConfig(), "memory://nowhere", None)

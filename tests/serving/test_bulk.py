"""Lists for everybody are those that each user would get, in parts that survive a stop."""

import json

import polars as pl
import pytest

from serving import MovieFilter, Recommender, UnknownIdError, bulk
from serving.answers import Request


@pytest.fixture(scope="module")
def recommender(published):
    return Recommender.load(str(published))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(bulk, "_BLOCK", 32)


def read(directory):
    return pl.read_parquet(f"{directory}/part-*.parquet").sort("user_id", "rank")


def test_every_list_is_that_of_recommend(recommender, tmp_path):
    done = []
    found = bulk.recommend_all(recommender, str(tmp_path / "recs"), request=Request(n=20), on_users=done.append)
    users = recommender.user_ids.tolist()
    assert (found.users, found.parts, found.kept) == (len(users), -(-len(users) // 32), 0)
    assert sum(done) == len(users)
    lists = read(tmp_path / "recs")
    assert lists.height == found.rows
    for (user,), rows in lists.group_by("user_id", maintain_order=True):
        expected = recommender.recommend(user, n=20)
        assert rows["movie_id"].to_list() == [movie.movie_id for movie in expected]
        assert rows["rank"].to_list() == list(range(1, len(expected) + 1))
        assert rows["score"].to_list() == pytest.approx([movie.score for movie in expected], abs=1e-6)
        assert rows["predicted_rating"].to_list() == pytest.approx([m.predicted_rating for m in expected], abs=1e-5)
    assert lists["user_id"].n_unique() == len(users)


def test_filters_and_chosen_users(recommender, tmp_path):
    users, wanted = recommender.user_ids[5:9].tolist(), MovieFilter(genres="Comedy", year_min=1980)
    bulk.recommend_all(recommender, str(tmp_path / "recs"), users, Request(n=5, filter=wanted))
    lists = read(tmp_path / "recs")
    assert lists["user_id"].unique().sort().to_list() == users
    for user in users:
        expected = [movie.movie_id for movie in recommender.recommend(user, n=5, filter=wanted)]
        assert lists.filter(pl.col("user_id") == user)["movie_id"].to_list() == expected


def test_a_job_that_was_stopped_goes_on(recommender, tmp_path, monkeypatch):
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    bulk.recommend_all(recommender, whole, request=Request(n=5))
    put, written = bulk._put, []

    def put_two(fs, name, lists):
        if len(written) == 2:
            raise OSError("the disk is full")
        put(fs, name, lists)
        written.append(name)

    monkeypatch.setattr(bulk, "_put", put_two)
    with pytest.raises(OSError, match="the disk is full"):
        bulk.recommend_all(recommender, stopped, request=Request(n=5), threads=1)
    assert not (tmp_path / "stopped" / "_SUCCESS").exists()
    monkeypatch.setattr(bulk, "_put", put)
    done = []
    found = bulk.recommend_all(recommender, stopped, request=Request(n=5), on_users=done.append)
    assert (found.kept, done[0]) == (2, 64)
    assert read(stopped).equals(read(whole))
    assert (tmp_path / "stopped" / "_SUCCESS").exists()


def test_another_job_does_not_mix_with_it(recommender, tmp_path):
    output = str(tmp_path / "recs")
    bulk.recommend_all(recommender, output, request=Request(n=5))
    with pytest.raises(ValueError, match="of another request; pass another --output"):
        bulk.recommend_all(recommender, output, request=Request(n=6))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no lists"):
        bulk.recommend_all(recommender, str(tmp_path / "mine"))
    with pytest.raises(ValueError, match="is a file"):
        bulk.recommend_all(recommender, str(tmp_path / "mine" / "thesis.txt"))


def test_unknown_users_are_named_before_anything_is_written(recommender, tmp_path):
    with pytest.raises(UnknownIdError, match=r"2 of 3 users are unknown .*: 777777, nobody; leave them out"):
        bulk.recommend_all(recommender, str(tmp_path / "recs"), ["1", "777777", "nobody"])
    assert not (tmp_path / "recs").exists()


def test_from_the_shell(matinee, recommender, published, tmp_path):
    (tmp_path / "users.txt").write_text("1\n2\n\n")
    code, out, err = matinee(
        "recommend-all", "--output", tmp_path / "recs", "--users", tmp_path / "users.txt", "-n", 3, "--genre", "drama",
        "--serving-dir", published,
    )  # fmt: skip
    assert code == 0, err
    assert "2 users, 1 parts" in out
    lists = read(tmp_path / "recs")
    expected = recommender.recommend("1", n=3, filter=MovieFilter(genres="Drama"))
    assert lists.filter(pl.col("user_id") == 1)["movie_id"].to_list() == [movie.movie_id for movie in expected]
    assert json.loads((tmp_path / "recs" / "_job.json").read_text())["version"] == recommender.model_version

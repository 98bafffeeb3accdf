"""The component writes what the served version recommends."""

import polars as pl
import pytest
from tfx.types import standard_artifacts

from components.bulk_recommender.config import BulkConfig
from components.bulk_recommender.executor import Executor
from schemas import artifacts, keys
from schemas.configuration import CONFIG, to_json
from serving import Recommender


def run(serving_dir, directory):
    lists = artifacts.RecommendationLists()
    lists.uri = str(directory)
    Executor().Do(
        {"pushed_model": [standard_artifacts.PushedModel()]},
        {keys.LISTS: [lists]},
        {keys.SERVING_DIR: str(serving_dir), CONFIG: to_json(BulkConfig(list_movies=4))},
    )
    return lists


def test_every_user_gets_the_list_of_the_served_version(published, tmp_path):
    (tmp_path / "lists").mkdir()  # As TFX does.
    lists = run(published, tmp_path / "lists")
    recommender = Recommender.load(str(published))
    said = f"{len(recommender.user_ids)} lists of version {recommender.model_version}"
    assert lists.get_string_custom_property(keys.REASON) == said
    rows = pl.read_parquet(f"{tmp_path}/lists/part-*.parquet")
    for user in recommender.user_ids[:20].tolist():
        expected = [movie.movie_id for movie in recommender.recommend(user, n=4)]
        assert rows.filter(pl.col("user_id") == user).sort("rank")["movie_id"].to_list() == expected


def test_without_a_served_version_it_says_so(tmp_path):
    with pytest.raises(ValueError, match="no model is published"):
        run(tmp_path / "nothing", tmp_path / "lists")

"""Executor of BulkRecommender."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components import progress
from components.bulk_recommender.config import BulkConfig
from schemas import configuration, keys
from serving.answers import Request
from serving.bulk import recommend_all
from serving.recommender import Recommender


class Executor(base_executor.BaseExecutor):
    """Writes the lists of every known user."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write them with the newest served version, whether it was published now or before.

        Args:
          input_dict: `pushed_model`, which says that the Pusher is done.
          output_dict: `lists`; its custom property `reason` says how many there are.
          exec_properties: `serving_dir`; `config`, the JSON of a `BulkConfig`.

        Raises:
          ValueError: Nothing is served.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        lists = artifact_utils.get_single_instance(output_dict[keys.LISTS])
        config = configuration.from_properties(BulkConfig, exec_properties)
        recommender = Recommender.load(exec_properties[keys.SERVING_DIR])
        request = Request(n=min(config.list_movies, recommender.movies.height))
        users = len(recommender.user_ids)
        done = recommend_all(
            recommender,
            lists.uri,
            request=request,
            on_users=lambda number: progress.advance("list", number, "users", users),
        )
        reason = f"{done.users:,} lists of version {recommender.model_version}"
        lists.set_string_custom_property(keys.REASON, reason)
        logging.info(reason)

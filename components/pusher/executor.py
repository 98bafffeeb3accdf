"""Executor of the Pusher: TFX's, with a publication of tower and index in place of its copy."""

from __future__ import annotations

import tempfile
from typing import Any

from absl import logging
from tfx import types
from tfx.components.pusher import executor as tfx_pusher
from tfx.types import artifact_utils, standard_component_specs

from components import embedding
from components.dataset import Shards
from components.pusher import histories
from components.pusher.config import PusherConfig
from components.pusher.publish import Publication, publish, weights_digest
from components.similarity import similarity_vectors
from schemas import configuration, keys
from schemas import manifest as m
from schemas.user_features import no_ratings
from serving.index import IndexContents

_WARMUP_USERS = 8


class Executor(tfx_pusher.Executor):
    """Publishes the user tower and the index of a blessed model."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publish the model if it is blessed and not served already.

        Args:
          input_dict: `model`, `model_blessing`, `movie_catalog`, `user_histories`.
          output_dict: `pushed_model`; its custom properties `pushed`, `pushed_destination`, `pushed_version` and
            `reason` say what was done.
          exec_properties: `serving_dir`; `config`, the JSON of a `PusherConfig`.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            pushed.set_string_custom_property(keys.REASON, "not pushed: the model was not blessed")
            return
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        shards = Shards.of(
            artifact_utils.get_single_uri(input_dict[keys.MOVIE_CATALOG]),
            artifact_utils.get_single_uri(input_dict[keys.USER_HISTORIES]),
        )
        towers = embedding.Towers(model.uri)
        config = configuration.from_properties(PusherConfig, exec_properties)
        serving_dir = exec_properties[keys.SERVING_DIR]
        with tempfile.TemporaryDirectory(prefix="matinee-") as directory, tempfile.TemporaryDirectory() as scratch:
            joined, user_keys = histories.join(shards, f"{scratch}/ratings.npy")
            publication = Publication(
                tower_dir=towers.user_tower_dir,
                contents=IndexContents(
                    vectors=towers.embed_movies(shards.catalog),
                    similarity=similarity_vectors(shards.catalog, joined),
                    movies=shards.catalog,
                    histories=joined,
                    user_keys=user_keys,
                    constants=shards.constants,
                    user_tower_file=towers.user_tower_file,
                    tower_digest=weights_digest(towers.user_tower_dir),
                    probe=towers.embed_users(no_ratings(shards.constants)).embeddings[0].tolist(),
                    models={m.MOVIE_TOWER: towers.movie_tower_dir, m.EVALUATED: towers.evaluated_dir},
                    index_factory=config.index_factory,
                ),
                warmup_features=next(iter(shards)).user_tower_inputs(slice(0, _WARMUP_USERS)),
            )
            published = publish(serving_dir, publication, config.keep_versions, directory)
        if published.pushed:
            self._MarkPushed(pushed, serving_dir, str(published.version))
            reason = f"pushed as version {published.version}"
        else:
            self._MarkNotPushed(pushed)
            reason = f"not pushed: version {published.version} serves the same model and histories"
        pushed.set_string_custom_property(keys.REASON, reason)
        logging.info("%s; removed versions: %s", reason, published.removed)

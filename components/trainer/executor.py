"""Executor of the Trainer: TFX's generic one, once the run's parameters are in the configuration."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import TypeAdapter
from tfx import types
from tfx.components.trainer import executor as tfx_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils

from components.polars_example_gen import shards
from components.trainer.config import TrainerConfig
from components.trainer.multi_worker import is_chief
from components.trainer.train_data import CATALOG_URI, EVAL_ROWS, HISTORIES_URI, TRAIN_ROWS
from components.trainer.trainer import CONFIG, run_fn
from schemas import keys

EPOCHS = "epochs"
RETRIEVAL_WEIGHT = "retrieval_weight"


def tables(input_dict: dict[str, list[types.Artifact]]) -> dict[str, Any]:
    """Return the entries of `custom_config` that say what is trained on, beside the examples themselves.

    Args:
      input_dict: `examples`, `movie_catalog`, `user_histories`.
    """
    examples = artifact_utils.get_single_instance(input_dict[standard_component_specs.EXAMPLES_KEY])
    return {
        CATALOG_URI: artifact_utils.get_single_uri(input_dict[keys.MOVIE_CATALOG]),
        HISTORIES_URI: artifact_utils.get_single_uri(input_dict[keys.USER_HISTORIES]),
        TRAIN_ROWS: examples.get_int_custom_property(shards.TRAIN),
        EVAL_ROWS: examples.get_int_custom_property(shards.EVAL),
    }


class Executor(tfx_executor.GenericExecutor):
    """Calls `run_fn`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Train and export.

        Args:
          input_dict: `examples`, `transform_graph`, `schema`, `movie_catalog`, `user_histories`, and possibly the
            `hyperparameters` that a Tuner found.
          output_dict: `model`, `model_run`.
          exec_properties: TFX's, and `epochs` and `retrieval_weight`, which win over the configuration's.

        Raises:
          ValueError: A value is out of its range.
        """
        key = standard_component_specs.CUSTOM_CONFIG_KEY
        custom = json_utils.loads(exec_properties[key])
        adapter = TypeAdapter(TrainerConfig)
        given = {name: exec_properties[name] for name in (EPOCHS, RETRIEVAL_WEIGHT)}
        # Through plain values, so that what a run was given is validated as well.
        config = adapter.validate_python(dataclasses.asdict(adapter.validate_json(custom[CONFIG])) | given)
        custom |= tables(input_dict) | {CONFIG: adapter.dump_json(config).decode()}
        exec_properties = {**exec_properties, key: json_utils.dumps(custom)}
        if is_chief():
            super().Do(input_dict, output_dict, exec_properties)
        else:  # TFX's looks for the model afterwards, which another one exports.
            run_fn(self._GetFnArgs(input_dict, output_dict, exec_properties))

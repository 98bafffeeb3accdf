"""Executor of the Trainer: TFX's generic one, once it is said what is trained on, and how."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.trainer import executor as tfx_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils

from components.trainer.multi_worker import is_chief
from components.trainer.run_fn import BASE, CATALOG_URI, CONFIG, EVAL_ROWS, HISTORIES_URI, TRAIN_ROWS, run_fn
from schemas import configuration, ingest, keys


def custom_config(
    input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any], trainer_config: str, **more: Any
) -> dict[str, Any]:
    """Return exec properties whose `custom_config` has what `run_fn` and `tuner_fn` read.

    Args:
      input_dict: `examples`, `movie_catalog`, `user_histories`.
      exec_properties: The component's.
      trainer_config: JSON of a `TrainerConfig`.
      **more: Further entries.
    """
    key = standard_component_specs.CUSTOM_CONFIG_KEY
    examples = artifact_utils.get_single_instance(input_dict[standard_component_specs.EXAMPLES_KEY])
    custom = json_utils.loads(exec_properties[key]) | {
        CONFIG: trainer_config,
        CATALOG_URI: artifact_utils.get_single_uri(input_dict[keys.MOVIE_CATALOG]),
        HISTORIES_URI: artifact_utils.get_single_uri(input_dict[keys.USER_HISTORIES]),
        TRAIN_ROWS: examples.get_int_custom_property(ingest.EXAMPLES[ingest.TRAIN]),
        EVAL_ROWS: examples.get_int_custom_property(ingest.EXAMPLES[ingest.EVAL]),
        BASE: next((a.uri for a in input_dict.get(keys.BASE_MODEL, ()) if a.get_int_custom_property(keys.VERSION)), ""),
        **more,
    }
    return {**exec_properties, key: json_utils.dumps(custom)}


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
            `hyperparameters` that a Tuner found and the `base_model` to go on from.
          output_dict: `model`, `model_run`.
          exec_properties: TFX's; `config`, the JSON of a `TrainerConfig`.

        Raises:
          ValueError: A value is out of its range.
        """
        exec_properties = custom_config(input_dict, exec_properties, exec_properties[configuration.CONFIG])
        if is_chief():
            super().Do(input_dict, output_dict, exec_properties)
            run = artifact_utils.get_single_uri(output_dict[standard_component_specs.MODEL_RUN_KEY])
            model = artifact_utils.get_single_instance(output_dict[standard_component_specs.MODEL_KEY])
            with tf.io.gfile.GFile(f"{run}/{keys.TRAINING_FILE}") as file:
                model.set_string_custom_property(keys.REASON, file.read())
        else:  # TFX's looks for the model afterwards, which another one exports.
            run_fn(self._GetFnArgs(input_dict, output_dict, exec_properties))

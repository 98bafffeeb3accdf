"""Executor of the Tuner: TFX's, once it is said what is trained on."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.tuner import executor as tfx_tuner
from tfx.types import artifact_utils, standard_component_specs

from components.trainer.executor import custom_config
from components.tuner.tuner_fn import TUNER_CONFIG
from schemas import configuration, keys


class Executor(tfx_tuner.Executor):
    """Calls `tuner_fn` and searches."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Search.

        Args:
          input_dict: `examples`, `transform_graph`, `schema`, `movie_catalog`, `user_histories`.
          output_dict: `best_hyperparameters`, whose custom property `reason` says what was found; `tuner_results`.
          exec_properties: TFX's; `config`, the JSON of a `TunerConfig`; `trainer_config`, that of a `TrainerConfig`.
        """
        given = {TUNER_CONFIG: exec_properties[configuration.CONFIG]}
        custom = custom_config(input_dict, exec_properties, exec_properties[keys.TRAINER_CONFIG], **given)
        super().Do(input_dict, output_dict, custom)
        best = artifact_utils.get_single_instance(output_dict[standard_component_specs.BEST_HYPERPARAMETERS_KEY])
        results = artifact_utils.get_single_uri(output_dict[standard_component_specs.TUNER_RESULTS_KEY])
        best.set_string_custom_property(keys.REASON, _summary(_read(best.uri), _read(results)))


def _read(uri: str) -> Any:
    """Read the JSON of an artifact of TFX's Tuner, which writes one file each."""
    (name,) = tf.io.gfile.listdir(uri)
    with tf.io.gfile.GFile(f"{uri}/{name}") as file:
        return json.loads(file.read())


def _summary(best: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    values = ", ".join(f"{name} {value:.3g}" for name, value in best["values"].items())
    given = min(trials, key=lambda trial: int(trial["trial_id"]))  # It is the first; `trials` has the best one first.
    return f"{values}: {trials[0]['score']:.4f} in eval, the given ones {given['score']:.4f}"

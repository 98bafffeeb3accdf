"""Executor of WarmStart."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.files import copy_tree
from components.trainer import state
from components.trainer.config import TrainerConfig
from components.warm_start.config import WarmStartConfig
from schemas import configuration, keys
from schemas.manifest import EMBEDDING_INDEX, EVALUATED
from serving.store import ServingStore
from serving.verification import newest_whole

_DAY_S = 86_400


class Executor(base_executor.BaseExecutor):
    """Copies the served model as it was evaluated."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Copy the served model, unless there is none to go on from.

        Args:
          input_dict: Empty.
          output_dict: `base_model`; its custom properties are `version`, 0 where there is none, `latest_s`, the time of
            the latest rating that it has seen, and `reason`, which says what was decided.
          exec_properties: `serving_dir`; `trainer_config`, the JSON of a `TrainerConfig`; `config`, that of a
            `WarmStartConfig`.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        base = artifact_utils.get_single_instance(output_dict[keys.BASE_MODEL])
        tf.io.gfile.makedirs(base.uri)
        config = configuration.from_properties(WarmStartConfig, exec_properties)
        trainer = configuration.from_json(TrainerConfig, exec_properties[keys.TRAINER_CONFIG])
        found = _served(exec_properties[keys.SERVING_DIR], base.uri)
        reason, version = "from the start: nothing is served yet", 0
        if found is not None:
            version, model = found
            why = _why_from_the_start(model, trainer, config)
            reason = f"from the start: {why}" if why else f"goes on from version {version}"
            version = 0 if why else version
            if model is not None:
                base.set_int_custom_property(keys.LATEST_S, model.state.latest_s)
        base.set_int_custom_property(keys.VERSION, version)
        base.set_string_custom_property(keys.REASON, reason)
        logging.info(reason)


def _served(serving_dir: str, target: str) -> tuple[int, state.Base | None] | None:
    """Copy the newest whole version's evaluated model to `target`; return the version, and the model if it has a state.

    A version that is damaged or of another format counts as not served, as for the gate.
    """
    store = ServingStore(serving_dir)
    found = newest_whole(store)
    if found is None:
        return None
    version, _ = found
    with tempfile.TemporaryDirectory(prefix="matinee-") as directory:
        copy_tree(store.local_copy(EMBEDDING_INDEX, version, directory, EVALUATED), target)
    try:
        return version, state.read(target)
    except ValueError:
        return version, None


def _why_from_the_start(model: state.Base | None, trainer: TrainerConfig, config: WarmStartConfig) -> str:
    """Say why training has to start anew; empty if it can go on."""
    if model is None:
        return "the served version has no training state that this code reads"
    days = (time.time() - model.state.trained_s) / _DAY_S
    if not model.state.domain.timed:
        return "the ratings have no times, so that new ones cannot be told"
    if days > config.max_age_days:
        return f"the last training from the start is {days:.0f} days old"
    return model.state.due or model.state.misfit(trainer)

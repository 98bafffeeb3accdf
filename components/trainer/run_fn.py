"""`run_fn`: what TFX's Trainer calls, and what it tells of the training data."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from components.trainer import continuation, export, state
from components.trainer.config import TrainerConfig
from components.trainer.multi_worker import this_worker
from components.trainer.state import Base
from components.trainer.train_data import TrainData, load_data
from components.trainer.training import get_strategy, train
from schemas import configuration, keys, signatures

RUN_FN = f"{__name__}.run_fn"
CONFIG = "trainer_config"
"""Key of the configuration's JSON in custom_config."""
CATALOG_URI = "movie_catalog_uri"
"""Key of the MovieCatalog artifact's URI in it."""
HISTORIES_URI = "user_histories_uri"
"""Key of the UserHistories artifact's URI in it."""
TRAIN_ROWS = "train_rows"
"""Key of the number of train rows in it."""
EVAL_ROWS = "eval_rows"
"""Key of the number of eval rows in it."""
BASE = "base_model_uri"
"""Key of the URI of the model to go on from; empty where training starts anew."""


def config_of(fn_args: FnArgs) -> TrainerConfig:
    """Return the Trainer's configuration that a component was given.

    Raises:
      ValueError: A value is unknown or out of its range.
    """
    return configuration.from_json(TrainerConfig, fn_args.custom_config[CONFIG])


def base_of(fn_args: FnArgs) -> Base | None:
    """Return the model that training goes on from."""
    directory = fn_args.custom_config[BASE]
    return state.read(directory) if directory else None


def data_of(fn_args: FnArgs, base: Base | None = None) -> TrainData:
    """Return what a component was given to train on; see `components.trainer.executor.custom_config`."""
    custom = fn_args.custom_config
    return load_data(
        fn_args.train_files,
        fn_args.eval_files,
        tft.TFTransformOutput(base.transform_dir if base else fn_args.transform_graph_path),
        custom[CATALOG_URI],
        custom[HISTORIES_URI],
        custom[TRAIN_ROWS],
        custom[EVAL_ROWS],
        base,
    )


def run_fn(fn_args: FnArgs) -> None:
    """Train the towers; the chief, if there are several workers, exports them.

    Args:
      fn_args: TFX's arguments; `custom_config["trainer_config"]` is the JSON of a `TrainerConfig`, whose values the
        Tuner's `hyperparameters`, if there are any, replace.
    """
    config = config_of(fn_args)
    strategy = get_strategy(config.strategy)  # First: its collective operations are set up before any other operation.
    if fn_args.hyperparameters:
        config = with_hyperparameters(config, fn_args.hyperparameters)
    base = base_of(fn_args)
    data = data_of(fn_args, base)
    trained = train(config, data, fn_args.model_run_dir, strategy, base)
    if not this_worker(strategy).is_chief:
        return
    export.export_model(trained.published, data.inputs, fn_args.serving_model_dir)
    root = fn_args.serving_model_dir.rsplit("/", 1)[0]
    evaluated_dir = f"{root}/{signatures.EVALUATED_DIR}"
    export.export_model(trained.evaluated, data.inputs, evaluated_dir)
    now = continuation.state_of(config, data, base, fn_args.transform_graph_path)
    state.write(evaluated_dir, now, base.transform_dir if base else fn_args.transform_graph_path)
    export.export_user_tower(trained.published, data.inputs, f"{root}/{signatures.USER_TOWER_DIR}")
    export.export_movie_tower(trained.published, data.inputs, f"{root}/{signatures.MOVIE_TOWER_DIR}")
    with tf.io.gfile.GFile(f"{fn_args.model_run_dir}/{keys.LEARNING_CURVES_FILE}", "w") as file:
        file.write(json.dumps(trained.history, indent=1))
    with tf.io.gfile.GFile(f"{fn_args.model_run_dir}/{keys.CONFIG_FILE}", "w") as file:
        file.write(configuration.to_json(config))
    with tf.io.gfile.GFile(f"{fn_args.model_run_dir}/{keys.TRAINING_FILE}", "w") as file:
        file.write(trained.said + (f"; a training from the start is due: {now.due}" if now.due else ""))


def with_hyperparameters(config: TrainerConfig, hyperparameters: dict[str, Any]) -> TrainerConfig:
    """Put the values of a KerasTuner configuration (`HyperParameters.get_config()`) into the Trainer's."""
    return configuration.replace(config, hyperparameters["values"], "the Tuner's hyperparameters")

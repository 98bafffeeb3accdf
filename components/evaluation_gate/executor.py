"""Executor of the evaluation gate."""

from __future__ import annotations

import io
import json
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_component_specs

from components import progress
from components.dataset import Shards
from components.embedding import Towers
from components.evaluation_gate import served
from components.evaluation_gate.config import GateConfig
from components.evaluation_gate.evaluate import Model, ask, compare, measure, per_user, summarise
from components.evaluation_gate.gate import decide
from components.evaluation_gate.held_out import HeldOut
from components.evaluation_gate.report.contents import collect, describe
from components.evaluation_gate.report.live import read_live
from components.evaluation_gate.report.page import render
from schemas import configuration, keys, signatures
from schemas.evaluation import Evaluation


class Executor(base_executor.BaseExecutor):
    """Measures a model and decides whether it may be pushed."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the evaluation and the blessing.

        Args:
          input_dict: `model`, `model_run`, `movie_catalog`, `user_histories`.
          output_dict: `evaluation`, `blessing`.
          exec_properties: `config`, the JSON of a `GateConfig`; `serving_dir`.

        Raises:
          ValueError: No rating is held out.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        config = configuration.from_properties(GateConfig, exec_properties)
        shards = Shards.of(
            artifact_utils.get_single_uri(input_dict[keys.MOVIE_CATALOG]),
            artifact_utils.get_single_uri(input_dict[keys.USER_HISTORIES]),
        )
        model_uri = artifact_utils.get_single_uri(input_dict[standard_component_specs.MODEL_KEY])
        towers = Towers(model_uri, signatures.EVALUATED_DIR)
        model = Model(towers.embed_users, towers.embed_movies(shards.catalog), shards.constants)
        now = served.load(exec_properties[keys.SERVING_DIR], shards.catalog, shards.constants.domain)
        held = HeldOut.read(shards, config.max_ranking_users)
        ours, *theirs = ask(shards, held, [model, now[1]] if now else [model])
        found = measure(held, ours)
        progress.advance("evaluate", len(held.movie), "ratings")
        measures = summarise(held, found)
        comparison = compare(held, found, theirs[0]) if theirs else None
        decision = decide(measures, comparison, config)
        result = Evaluation(
            **dict(measures),
            served_version=now[0] if now else None,
            comparison=comparison,
            blessed=decision.blessed,
            reason=decision.reason,
        )
        evaluation = artifact_utils.get_single_instance(output_dict[standard_component_specs.EVALUATION_KEY])
        _write(f"{evaluation.uri}/{keys.EVALUATION_FILE}", result.to_json())
        per_user(held, found).write_parquet(table := io.BytesIO())
        _write(f"{evaluation.uri}/{keys.PER_USER_FILE}", table.getvalue())
        contents = collect(held, ours, found)
        run = artifact_utils.get_single_uri(input_dict[keys.MODEL_RUN])
        curves = json.loads(_read(run, keys.LEARNING_CURVES_FILE))
        about = describe(held, _read(run, keys.TRAINING_FILE), now[0] if now else None)
        live = read_live(config.live_metrics) if config.live_metrics else None
        page = render(contents, result, curves, about, _read(run, keys.CONFIG_FILE), live)
        _write(f"{evaluation.uri}/{keys.REPORT_FILE}", page)
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        name = constants.BLESSED_FILE_NAME if decision.blessed else constants.NOT_BLESSED_FILE_NAME
        _write(f"{blessing.uri}/{name}", "")
        blessing.set_int_custom_property(
            constants.ARTIFACT_PROPERTY_BLESSED_KEY,
            constants.BLESSED_VALUE if decision.blessed else constants.NOT_BLESSED_VALUE,
        )
        blessing.set_string_custom_property(keys.REASON, decision.reason)
        logging.info(decision.reason)


def _read(model_run_uri: str, name: str) -> str:
    """Read a file of the Trainer's."""
    with tf.io.gfile.GFile(f"{model_run_uri}/{name}") as file:
        text: str = file.read()
    return text


def _write(path: str, contents: str | bytes) -> None:
    directory, _, _ = path.rpartition("/")
    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(contents)

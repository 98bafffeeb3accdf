"""Executor of the evaluation gate."""

from __future__ import annotations

import json
from typing import Any

from absl import logging
from pydantic import TypeAdapter
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from components import dataset, progress
from components.evaluation_gate import served
from components.evaluation_gate.config import GateConfig
from components.evaluation_gate.evaluate import Embeddings, compare, measure, summarise
from components.evaluation_gate.gate import decide
from components.evaluation_gate.report.contents import collect
from components.evaluation_gate.report.page import render
from components.trainer.embed import Towers
from schemas import keys, signatures
from schemas.vectors import Vectors

GATE_CONFIG = "gate_config"


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
          exec_properties: `gate_config` (JSON), `serving_root`.

        Raises:
          ValueError: No rating is held out.
          RuntimeError: The served version is damaged.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        config = TypeAdapter(GateConfig).validate_json(exec_properties[GATE_CONFIG])
        data = dataset.load(
            artifact_utils.get_single_uri(input_dict[keys.MOVIE_CATALOG]),
            artifact_utils.get_single_uri(input_dict[keys.USER_HISTORIES]),
        )
        model_uri = artifact_utils.get_single_uri(input_dict[standard_component_specs.MODEL_KEY])
        towers = Towers(model_uri, signatures.EVALUATED_DIR)
        users = Vectors.concatenate(map(towers.embed_users, data.user_blocks()))
        model = Embeddings(users, towers.embed_movies(data.catalog))
        found = measure(data, model, config.max_ranking_users)
        progress.advance("evaluate", len(found.stars), "ratings")
        result = summarise(data, found)

        now = served.load(exec_properties[keys.SERVING_ROOT], data)
        comparison = compare(data, model, now[1], config.max_ranking_users) if now else None
        decision = decide(result, comparison, config)
        result |= {
            "served_version": now[0] if now else None,
            "comparison": comparison,
            "blessed": decision.blessed,
            "reason": decision.reason,
        }
        evaluation = artifact_utils.get_single_instance(output_dict[standard_component_specs.EVALUATION_KEY])
        io_utils.write_string_file(f"{evaluation.uri}/{keys.EVALUATION_FILE}", json.dumps(result, indent=1))
        contents = collect(data, model, found)
        page = render(contents, result, _history(artifact_utils.get_single_uri(input_dict[keys.MODEL_RUN])))
        io_utils.write_string_file(f"{evaluation.uri}/{keys.REPORT_FILE}", page)
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        name = constants.BLESSED_FILE_NAME if decision.blessed else constants.NOT_BLESSED_FILE_NAME
        io_utils.write_string_file(f"{blessing.uri}/{name}", "")
        blessing.set_int_custom_property(
            constants.ARTIFACT_PROPERTY_BLESSED_KEY,
            constants.BLESSED_VALUE if decision.blessed else constants.NOT_BLESSED_VALUE,
        )
        blessing.set_string_custom_property(keys.REASON, decision.reason)
        logging.info(decision.reason)


def _history(model_run_uri: str) -> dict[str, list[float]]:
    """Read the Trainer's losses and metrics per epoch."""
    with fileio.open(f"{model_run_uri}/{keys.HISTORY_FILE}") as file:
        return json.loads(file.read())

"""Executor of StrictExampleValidator: TFX's, which writes the anomalies down, and then stops if there are any."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.example_validator import executor as tfx_executor
from tfx.types import artifact_utils, standard_component_specs

from components.example_validator.anomalies import describe, read


class Executor(tfx_executor.Executor):
    """Validates statistics against the schema and fails on any anomaly."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Write the anomalies as TFX does, then stop if there are any.

        Args:
          input_dict: `statistics`, `schema`.
          output_dict: `anomalies`.
          exec_properties: `exclude_splits`.

        Raises:
          ValueError: A feature breaks the schema; the message names split, feature and reason.
        """
        result = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.ANOMALIES_KEY])
        found = read(artifact.uri)
        if found:
            raise ValueError(describe(found))
        return result

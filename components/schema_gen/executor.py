"""Executor of CuratedSchemaGen."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.schema_gen.import_schema_gen import executor as tfx_executor
from tfx.types import standard_component_specs

from schemas.curated import SCHEMA_PATH


class Executor(tfx_executor.Executor):
    """Imports a schema; the curated one lies where this process has the project, not where the pipeline was made."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the schema.

        Args:
          input_dict: Empty.
          output_dict: `schema`.
          exec_properties: `schema_file`: path or URI, or empty for the curated schema.
        """
        key = standard_component_specs.SCHEMA_FILE_KEY
        super().Do(input_dict, output_dict, {**exec_properties, key: exec_properties[key] or SCHEMA_PATH})

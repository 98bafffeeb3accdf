"""Executor of CuratedSchemaGen."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME
from tfx.components.schema_gen.import_schema_gen import executor as tfx_executor
from tfx.types import artifact_utils, standard_component_specs

from components import dataset
from schemas import keys
from schemas.curated import schema_text


class Executor(tfx_executor.Executor):
    """Writes the schema of the data set's examples, or imports one."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the schema.

        Args:
          input_dict: `movie_catalog`, which knows what the data set is about.
          output_dict: `schema`.
          exec_properties: `schema_file`: path or URI, or empty for the curated schema.
        """
        if exec_properties[standard_component_specs.SCHEMA_FILE_KEY]:
            super().Do(input_dict, output_dict, exec_properties)
            return
        domain = dataset.read_constants(artifact_utils.get_single_uri(input_dict[keys.MOVIE_CATALOG])).domain
        uri = artifact_utils.get_single_uri(output_dict[standard_component_specs.SCHEMA_KEY])
        with tf.io.gfile.GFile(f"{uri}/{DEFAULT_FILE_NAME}", "w") as file:
            file.write(schema_text(domain))

"""CuratedSchemaGen, a TFX component."""

from __future__ import annotations

from tfx import types
from tfx.components.schema_gen.import_schema_gen import component as tfx_component
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs

from components import code_hash
from components.schema_gen import executor
from schemas import artifacts, keys


class CuratedSchemaGenSpec(component_spec.ComponentSpec):
    """ImportSchemaGen's parameters and a hash of code and schema, so that an edited schema misses the cache."""

    PARAMETERS = {
        **standard_component_specs.ImportSchemaGenSpec.PARAMETERS,
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {keys.MOVIE_CATALOG: component_spec.ChannelParameter(type=artifacts.MovieCatalog)}
    OUTPUTS = standard_component_specs.ImportSchemaGenSpec.OUTPUTS


class CuratedSchemaGen(tfx_component.ImportSchemaGen):
    """Writes the curated schema of the data set's examples."""

    SPEC_CLASS = CuratedSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, movie_catalog: types.BaseChannel, schema_file: str = "") -> None:
        """Create the component.

        Args:
          movie_catalog: The catalogue, which knows what the data set is about.
          schema_file: Path or URI of a tensorflow_metadata Schema in text format; empty for the curated one.
        """
        # BaseComponent's, not the parent's: ImportSchemaGen builds its own spec.
        base_component.BaseComponent.__init__(
            self,
            spec=CuratedSchemaGenSpec(
                movie_catalog=movie_catalog,
                schema_file=schema_file,
                code_hash=code_hash.of(executor.__name__) + (code_hash.of_file(schema_file) if schema_file else ""),
                schema=channel.Channel(type=standard_artifacts.Schema),
            ),
        )

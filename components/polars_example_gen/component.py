"""PolarsExampleGen, a TFX component."""

from __future__ import annotations

from tfx import types
from tfx.components.example_gen import component as example_gen
from tfx.components.example_gen import utils
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import example_gen_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs

from components import code_hash
from components.polars_example_gen import driver, executor
from components.polars_example_gen.config import ExampleGenConfig
from schemas import artifacts, configuration, keys

DATA_FINGERPRINT = "data_fingerprint"


class PolarsExampleGenSpec(component_spec.ComponentSpec):
    """Parameters and channels of `PolarsExampleGen`."""

    PARAMETERS = {
        **standard_component_specs.FileBasedExampleGenSpec.PARAMETERS,
        configuration.CONFIG: component_spec.ExecutionParameter(type=str),
        DATA_FINGERPRINT: component_spec.ExecutionParameter(type=str),
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {keys.BASE_MODEL: component_spec.ChannelParameter(type=artifacts.BaseModel, optional=True)}
    OUTPUTS = {
        standard_component_specs.EXAMPLES_KEY: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        keys.MOVIE_CATALOG: component_spec.ChannelParameter(type=artifacts.MovieCatalog),
        keys.USER_HISTORIES: component_spec.ChannelParameter(type=artifacts.UserHistories),
    }


class PolarsExampleGen(example_gen.FileBasedExampleGen):
    """Turns a data set into examples, a movie catalogue and user histories."""

    SPEC_CLASS = PolarsExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        input_base: str | RuntimeParameter,
        config: ExampleGenConfig | RuntimeParameter | None = None,
        data_fingerprint: str | RuntimeParameter = "",
        base_model: types.BaseChannel | None = None,
    ) -> None:
        """Create the component.

        Args:
          input_base: Directory, archive or URI with the tables that the configuration's data specification describes.
          config: How the data is read and split, or a run-time parameter with its JSON.
          data_fingerprint: Identifies the data's content for the cache of an orchestrator that runs no driver.
          base_model: What training goes on from: then new ratings become examples, and some older ones.
        """
        input_config = utils.make_default_input_config()
        # BaseBeamComponent's, not the parent's: FileBasedExampleGen builds its own spec.
        base_beam_component.BaseBeamComponent.__init__(
            self,
            spec=PolarsExampleGenSpec(
                input_base=input_base,
                input_config=input_config,
                output_config=utils.make_default_output_config(input_config),
                output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
                output_file_format=example_gen_pb2.FORMAT_TFRECORDS_GZIP,
                config=configuration.to_property(config or ExampleGenConfig()),
                data_fingerprint=data_fingerprint,
                base_model=base_model,
                code_hash=code_hash.of(executor.__name__, driver.__name__),
                examples=channel.Channel(type=standard_artifacts.Examples),
                movie_catalog=channel.Channel(type=artifacts.MovieCatalog),
                user_histories=channel.Channel(type=artifacts.UserHistories),
            ),
        )

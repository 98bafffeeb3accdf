"""PolarsExampleGen, a TFX component."""

from __future__ import annotations

from tfx.components.example_gen import component as example_gen
from tfx.components.example_gen import utils
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import example_gen_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs

from components import code_hash
from components.polars_example_gen import checks, driver, executor
from components.polars_example_gen.split import SplitConfig
from schemas import artifacts, keys

DATA_FINGERPRINT = "data_fingerprint"


class PolarsExampleGenSpec(component_spec.ComponentSpec):
    """Parameters and channels of `PolarsExampleGen`."""

    PARAMETERS = {
        **standard_component_specs.FileBasedExampleGenSpec.PARAMETERS,
        executor.EVAL_FRACTION: component_spec.ExecutionParameter(type=float),
        executor.MIN_RATINGS: component_spec.ExecutionParameter(type=int),
        executor.EVAL_AFTER_S: component_spec.ExecutionParameter(type=int, optional=True),
        executor.ON_BAD_ROWS: component_spec.ExecutionParameter(type=str),
        executor.MAX_BAD_ROWS: component_spec.ExecutionParameter(type=float),
        executor.ROWS_PER_SHARD: component_spec.ExecutionParameter(type=int),
        executor.CHUNK_BYTES: component_spec.ExecutionParameter(type=int),
        executor.SAMPLE_ROWS: component_spec.ExecutionParameter(type=int),
        executor.SEED: component_spec.ExecutionParameter(type=int),
        DATA_FINGERPRINT: component_spec.ExecutionParameter(type=str),
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {}
    OUTPUTS = {
        standard_component_specs.EXAMPLES_KEY: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        keys.MOVIE_CATALOG: component_spec.ChannelParameter(type=artifacts.MovieCatalog),
        keys.USER_HISTORIES: component_spec.ChannelParameter(type=artifacts.UserHistories),
    }


class PolarsExampleGen(example_gen.FileBasedExampleGen):
    """Turns a MovieLens data set into examples, a movie catalogue and user histories."""

    SPEC_CLASS = PolarsExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        input_base: str | RuntimeParameter,
        split: SplitConfig | None = None,
        on_bad_rows: str = checks.FAIL,
        max_bad_rows: float = 0.01,
        rows_per_shard: int = 500_000,
        chunk_bytes: int = 32 << 20,
        sample_rows: int = 1_000_000,
        seed: int = 0,
        data_fingerprint: str | RuntimeParameter = "",
    ) -> None:
        """Create the component.

        Args:
          input_base: Directory, zip archive or URI with ratings and movies, CSV or Parquet.
          split: How ratings are split into train and eval.
          on_bad_rows: `fail` or `drop`.
          max_bad_rows: Largest share of rows that `drop` may leave out, in [0, 1].
          rows_per_shard: Ratings per user partition, about.
          chunk_bytes: Bytes of a CSV file that are read at a time.
          sample_rows: Train ratings in the split `train_sample`, about; `eval_sample` has the same share of `eval`.
          seed: Seed of the shuffle and of the samples.
          data_fingerprint: Identifies the data's content for the cache of an orchestrator that runs no driver.

        Raises:
          ValueError: An argument is out of its range.
        """
        if on_bad_rows not in (checks.FAIL, checks.DROP):
            raise ValueError(f"on_bad_rows is {on_bad_rows!r}, expected {checks.FAIL!r} or {checks.DROP!r}")
        if not 0 <= max_bad_rows <= 1 or min(rows_per_shard, chunk_bytes, sample_rows) < 1:
            raise ValueError(
                "expected max_bad_rows in [0, 1], rows_per_shard, chunk_bytes and sample_rows of 1 or more"
            )
        split = split or SplitConfig()
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
                eval_fraction=split.eval_fraction,
                min_ratings=split.min_ratings,
                eval_after_s=split.eval_after_s,
                on_bad_rows=on_bad_rows,
                max_bad_rows=max_bad_rows,
                rows_per_shard=rows_per_shard,
                chunk_bytes=chunk_bytes,
                sample_rows=sample_rows,
                seed=seed,
                data_fingerprint=data_fingerprint,
                code_hash=code_hash.of("components.polars_example_gen", "schemas"),
                examples=channel.Channel(type=standard_artifacts.Examples),
                movie_catalog=channel.Channel(type=artifacts.MovieCatalog),
                user_histories=channel.Channel(type=artifacts.UserHistories),
            ),
        )

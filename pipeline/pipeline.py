"""The wiring: one function that every runner calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tfx import components as tfx_components
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import transform_pb2
from tfx.types import standard_component_specs

from components import code_hash
from components.evaluation_gate.component import EvaluationGate
from components.example_validator.component import StrictExampleValidator
from components.polars_example_gen import shards
from components.polars_example_gen.component import PolarsExampleGen
from components.pusher.component import Pusher
from components.schema_gen.component import CuratedSchemaGen
from components.trainer.component import Trainer
from components.transform.preprocessing import PREPROCESSING_FN
from components.tuner.component import Tuner
from pipeline.config import RunConfig
from schemas import keys

PIPELINE_NAME = "matinee"


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What one run may change: values, or run-time parameters of an orchestrator."""

    data: str | RuntimeParameter
    """Directory, zip or URI of the data set."""
    serving_root: str | RuntimeParameter
    """Path or URI of the served versions."""
    epochs: int | RuntimeParameter | None = None
    """Instead of the configuration's."""
    retrieval_weight: float | RuntimeParameter | None = None
    """Instead of the configuration's."""
    data_fingerprint: str | RuntimeParameter = ""
    """Identifies the data's content; see `PolarsExampleGen`."""


def create_pipeline(
    config: RunConfig,
    parameters: Parameters,
    pipeline_root: str,
    serving_root_id: str = "",
    metadata_connection_config=None,
    enable_cache: bool = True,
    pipeline_name: str = PIPELINE_NAME,
) -> tfx_pipeline.Pipeline:
    """Wire the components.

    Args:
      config: Configuration of the run.
      parameters: What a run may change.
      pipeline_root: Path or URI of the artifacts.
      serving_root_id: Identifies the serving root's content; see `Pusher`.
      metadata_connection_config: Where ML Metadata lies; None where the orchestrator knows.
      enable_cache: Whether unchanged components are skipped.
      pipeline_name: Name of the pipeline.
    """
    example_gen = PolarsExampleGen(
        input_base=parameters.data,
        split=config.split,
        on_bad_rows=config.data.on_bad_rows,
        max_bad_rows=config.data.max_bad_rows,
        rows_per_shard=config.data.rows_per_shard,
        chunk_bytes=config.data.chunk_bytes,
        sample_rows=config.data.sample_rows,
        seed=config.trainer.seed,
        data_fingerprint=parameters.data_fingerprint,
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx_components.StatisticsGen(examples=examples, exclude_splits=list(shards.SAMPLES))
    schema_gen = CuratedSchemaGen()
    schema = schema_gen.outputs["schema"]
    example_validator = StrictExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    transform = tfx_components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn=PREPROCESSING_FN,
        splits_config=transform_pb2.SplitsConfig(analyze=[shards.SAMPLES[shards.TRAIN]]),
        materialize=False,
        disable_statistics=True,
        custom_config={code_hash.PROPERTY: code_hash.of("components.transform", "schemas.features")},
    )
    transform.add_upstream_node(example_validator)
    tables = {name: example_gen.outputs[name] for name in (keys.MOVIE_CATALOG, keys.USER_HISTORIES)}
    training = dict(
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        train_split=shards.TRAIN,
        eval_split=shards.EVAL,
        config=config.trainer,
        **tables,
    )
    tuners = [Tuner(**training, trials=config.tuner.trials)] if config.tuner.trials else []
    model_trainer = Trainer(
        **training,
        epochs=parameters.epochs,
        retrieval_weight=parameters.retrieval_weight,
        hyperparameters=tuners[0].outputs["best_hyperparameters"] if tuners else None,
    )
    model_inputs = {
        standard_component_specs.MODEL_KEY: model_trainer.outputs["model"],
        **tables,
        keys.SERVING_ROOT: parameters.serving_root,
        keys.SERVING_ROOT_ID: serving_root_id,
    }
    gate = EvaluationGate(**model_inputs, model_run=model_trainer.outputs[keys.MODEL_RUN], config=config.gate)
    pusher = Pusher(**model_inputs, model_blessing=gate.outputs["blessing"], config=config.pusher)
    nodes: Sequence = [
        example_gen,
        statistics_gen,
        schema_gen,
        example_validator,
        transform,
        *tuners,
        model_trainer,
        gate,
        pusher,
    ]
    return tfx_pipeline.Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=pipeline_root,
        components=nodes,
        enable_cache=enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(config.data.beam_args) or ["--direct_running_mode=in_memory"],
    )

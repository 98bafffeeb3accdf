"""The wiring: one function that every runner calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import components as tfx_components
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import transform_pb2
from tfx.types import standard_component_specs

from components import code_hash
from components.bulk_recommender.component import BulkRecommender
from components.evaluation_gate.component import EvaluationGate
from components.example_validator.component import StrictExampleValidator
from components.polars_example_gen.component import PolarsExampleGen
from components.pusher.component import Pusher
from components.schema_gen.component import CuratedSchemaGen
from components.trainer.component import Trainer
from components.transform import preprocessing
from components.tuner.component import Tuner
from components.warm_start.component import WarmStart
from pipeline.config import RunConfig, sections
from schemas import keys
from schemas.ingest import SAMPLES, TRAIN

PIPELINE_NAME = "matinee"
# TFX packs its own source for workers elsewhere, a second and 49 MB of temporary files a component, unless it hears of
# an image that has it. There are no workers here.
IN_THIS_PROCESS = ["--direct_running_mode=in_memory", "--sdk_container_image=none"]


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What one run may change: values, or run-time parameters of an orchestrator."""

    data: str | RuntimeParameter
    """Directory, zip or URI of the data set."""
    serving_dir: str | RuntimeParameter
    """Path or URI of the served versions."""
    configs: Mapping[str, RuntimeParameter] = dataclasses.field(default_factory=dict)
    """Section of the configuration -> run-time parameter with its JSON, instead of the section itself."""
    data_fingerprint: str | RuntimeParameter = ""
    """Identifies the data's content; see `PolarsExampleGen`."""


def create_pipeline(
    config: RunConfig,
    parameters: Parameters,
    pipeline_root: str,
    serving_dir_id: str = "",
    served_version: str = "",
    metadata_connection_config: Any = None,
    enable_cache: bool = True,
    pipeline_name: str = PIPELINE_NAME,
) -> tfx_pipeline.Pipeline:
    """Wire the components.

    Args:
      config: Configuration of the run.
      parameters: What a run may change.
      pipeline_root: Path or URI of the artifacts.
      serving_dir_id: Identifies the serving root's content; see `Pusher`.
      served_version: The version now served; see `WarmStart`.
      metadata_connection_config: Where ML Metadata lies; None where the orchestrator knows.
      enable_cache: Whether unchanged components are skipped.
      pipeline_name: Name of the pipeline.
    """
    configs = {section: parameters.configs.get(section, getattr(config, section)) for section in sections()}
    served: dict[str, Any] = {keys.SERVING_DIR: parameters.serving_dir, keys.SERVING_DIR_ID: serving_dir_id}
    warm_starts = (
        [
            WarmStart(
                **served, trainer_config=configs["trainer"], config=configs["warm_start"], served_version=served_version
            )
        ]
        if config.warm_start.warm_start
        else []
    )
    base_model = warm_starts[0].outputs[keys.BASE_MODEL] if warm_starts else None
    example_gen = PolarsExampleGen(parameters.data, configs["data"], parameters.data_fingerprint, base_model)
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx_components.StatisticsGen(examples=examples, exclude_splits=list(SAMPLES))
    schema_gen = CuratedSchemaGen(example_gen.outputs[keys.MOVIE_CATALOG])
    schema = schema_gen.outputs["schema"]
    example_validator = StrictExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    transform = tfx_components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn=preprocessing.PREPROCESSING_FN,
        splits_config=transform_pb2.SplitsConfig(analyze=[SAMPLES[TRAIN]]),
        materialize=False,
        disable_statistics=True,
        custom_config={code_hash.PROPERTY: code_hash.of(preprocessing.__name__)},
    )
    transform.add_upstream_node(example_validator)
    ratings = {name: example_gen.outputs[name] for name in (keys.MOVIE_CATALOG, keys.USER_HISTORIES)}
    training = dict(examples=examples, transform_graph=transform.outputs["transform_graph"], schema=schema, **ratings)
    tuners = (
        [Tuner(**training, trainer_config=configs["trainer"], config=configs["tuner"])] if config.tuner.trials else []
    )
    model_trainer = Trainer(
        **training,
        config=configs["trainer"],
        hyperparameters=tuners[0].outputs["best_hyperparameters"] if tuners else None,
        base_model=base_model,
    )
    model_inputs = {
        standard_component_specs.MODEL_KEY: model_trainer.outputs["model"],
        **ratings,
        **served,
    }
    gate = EvaluationGate(**model_inputs, model_run=model_trainer.outputs[keys.MODEL_RUN], config=configs["gate"])
    pusher = Pusher(**model_inputs, model_blessing=gate.outputs["blessing"], config=configs["pusher"])
    lists = (
        [BulkRecommender(pusher.outputs[standard_component_specs.PUSHED_MODEL_KEY], config=configs["bulk"], **served)]
        if config.bulk.list_movies
        else []
    )
    nodes: Sequence = [
        *warm_starts,
        example_gen,
        statistics_gen,
        schema_gen,
        example_validator,
        transform,
        *tuners,
        model_trainer,
        gate,
        pusher,
        *lists,
    ]
    return tfx_pipeline.Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=pipeline_root,
        components=nodes,
        enable_cache=enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(config.beam.beam_args) or IN_THIS_PROCESS,
    )

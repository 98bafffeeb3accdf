"""Tuner, a TFX component: TFX's, with what training looks up in."""

from __future__ import annotations

from tfx import types
from tfx.components.tuner import component as tfx_tuner
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components import code_hash
from components.trainer.config import TrainerConfig
from components.tuner import executor, tuner_fn
from components.tuner.config import TunerConfig
from schemas import artifacts, configuration, keys
from schemas.ingest import EVAL, TRAIN


class TunerSpec(component_spec.ComponentSpec):
    """TFX's, the configurations, and what training looks up in."""

    PARAMETERS = {
        **standard_component_specs.TunerSpec.PARAMETERS,
        configuration.CONFIG: component_spec.ExecutionParameter(type=str),
        keys.TRAINER_CONFIG: component_spec.ExecutionParameter(type=str),
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        **standard_component_specs.TunerSpec.INPUTS,
        keys.MOVIE_CATALOG: component_spec.ChannelParameter(type=artifacts.MovieCatalog),
        keys.USER_HISTORIES: component_spec.ChannelParameter(type=artifacts.UserHistories),
    }
    OUTPUTS = standard_component_specs.TunerSpec.OUTPUTS


class Tuner(tfx_tuner.Tuner):
    """Searches for hyperparameters by training and ranking for eval users."""

    SPEC_CLASS = TunerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        schema: types.BaseChannel,
        movie_catalog: types.BaseChannel,
        user_histories: types.BaseChannel,
        trainer_config: TrainerConfig | RuntimeParameter | None = None,
        config: TunerConfig | RuntimeParameter | None = None,
    ) -> None:
        """Create the component.

        Args:
          examples: Raw examples.
          transform_graph: What Transform learned.
          schema: Schema of the raw examples.
          movie_catalog: Every movie with its features.
          user_histories: Every rating.
          trainer_config: What to start from, or a run-time parameter with its JSON.
          config: How long to search, likewise.
        """
        # BaseComponent's, not the parent's: TFX's Tuner builds its own spec.
        base_component.BaseComponent.__init__(
            self,
            spec=TunerSpec(
                examples=examples,
                transform_graph=transform_graph,
                schema=schema,
                movie_catalog=movie_catalog,
                user_histories=user_histories,
                tuner_fn=tuner_fn.TUNER_FN,
                train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
                eval_args=trainer_pb2.EvalArgs(splits=[EVAL]),
                custom_config=json_utils.dumps({}),
                config=configuration.to_property(config or TunerConfig()),
                trainer_config=configuration.to_property(trainer_config or TrainerConfig()),
                code_hash=code_hash.of(executor.__name__, tuner_fn.__name__),
                best_hyperparameters=channel.Channel(type=standard_artifacts.HyperParameters),
                tuner_results=channel.Channel(type=standard_artifacts.TunerResults),
            ),
        )

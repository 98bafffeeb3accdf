"""Tuner, a TFX component: TFX's, with the tables that training looks up in."""

from __future__ import annotations

from pydantic import TypeAdapter
from tfx import types
from tfx.components.tuner import component as tfx_tuner
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components import code_hash
from components.trainer import component as trainer_component
from components.trainer import trainer
from components.trainer.config import TrainerConfig
from components.tuner import executor, tuner
from schemas import artifacts, keys


class TunerSpec(component_spec.ComponentSpec):
    """TFX's, and the tables."""

    PARAMETERS = standard_component_specs.TunerSpec.PARAMETERS
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
        train_split: str,
        eval_split: str,
        config: TrainerConfig,
        trials: int,
    ) -> None:
        """Create the component.

        Args:
          examples: Raw examples.
          transform_graph: What Transform learned.
          schema: Schema of the raw examples.
          movie_catalog: Every movie with its features.
          user_histories: Every rating.
          train_split: Split to train on.
          eval_split: Split by which configurations are compared.
          config: Trainer configuration to start from.
          trials: How many configurations are trained.
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
                tuner_fn=tuner.TUNER_FN,
                train_args=trainer_pb2.TrainArgs(splits=[train_split]),
                eval_args=trainer_pb2.EvalArgs(splits=[eval_split]),
                custom_config=json_utils.dumps(
                    {
                        trainer.CONFIG: TypeAdapter(TrainerConfig).dump_json(config).decode(),
                        tuner.TRIALS: trials,
                        code_hash.PROPERTY: code_hash.of("components.tuner", *trainer_component.CODE),
                    }
                ),
                best_hyperparameters=channel.Channel(type=standard_artifacts.HyperParameters),
                tuner_results=channel.Channel(type=standard_artifacts.TunerResults),
            ),
        )

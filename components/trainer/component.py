"""Trainer, a TFX component: the generic one, with its configuration as a parameter of its own."""

from __future__ import annotations

from tfx import types
from tfx.components.trainer import component as tfx_trainer
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components import code_hash
from components.trainer import executor, run_fn
from components.trainer.config import TrainerConfig
from schemas import artifacts, configuration, keys
from schemas.ingest import EVAL, TRAIN


class TrainerSpec(component_spec.ComponentSpec):
    """TFX's parameters and the configuration, beside `custom_config`, which takes no run-time parameter."""

    PARAMETERS = {
        **standard_component_specs.TrainerSpec.PARAMETERS,
        configuration.CONFIG: component_spec.ExecutionParameter(type=str),
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        **standard_component_specs.TrainerSpec.INPUTS,
        keys.MOVIE_CATALOG: component_spec.ChannelParameter(type=artifacts.MovieCatalog),
        keys.USER_HISTORIES: component_spec.ChannelParameter(type=artifacts.UserHistories),
        keys.BASE_MODEL: component_spec.ChannelParameter(type=artifacts.BaseModel, optional=True),
    }
    OUTPUTS = standard_component_specs.TrainerSpec.OUTPUTS


class Trainer(tfx_trainer.Trainer):
    """Trains the two towers and exports them."""

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        schema: types.BaseChannel,
        movie_catalog: types.BaseChannel,
        user_histories: types.BaseChannel,
        config: TrainerConfig | RuntimeParameter | None = None,
        hyperparameters: types.BaseChannel | None = None,
        base_model: types.BaseChannel | None = None,
    ) -> None:
        """Create the component.

        Args:
          examples: Raw examples.
          transform_graph: What Transform learned.
          schema: Schema of the raw examples.
          movie_catalog: Every movie with its features, from which negatives are drawn.
          user_histories: Every rating, of which the user tower reads the latest.
          config: Trainer configuration, or a run-time parameter with its JSON.
          hyperparameters: What a Tuner found, instead of the configuration's.
          base_model: What training goes on from.
        """
        # BaseComponent's, not the parent's: the generic Trainer builds its own spec.
        base_component.BaseComponent.__init__(
            self,
            spec=TrainerSpec(
                examples=examples,
                transform_graph=transform_graph,
                schema=schema,
                movie_catalog=movie_catalog,
                user_histories=user_histories,
                hyperparameters=hyperparameters,
                base_model=base_model,
                run_fn=run_fn.RUN_FN,
                train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
                eval_args=trainer_pb2.EvalArgs(splits=[EVAL]),
                custom_config=json_utils.dumps({}),
                config=configuration.to_property(config or TrainerConfig()),
                code_hash=code_hash.of(executor.__name__),
                model=channel.Channel(type=standard_artifacts.Model),
                model_run=channel.Channel(type=standard_artifacts.ModelRun),
            ),
        )

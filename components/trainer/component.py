"""Trainer, a TFX component: the generic one, with what a run most often changes as parameters of their own."""

from __future__ import annotations

from pydantic import TypeAdapter
from tfx import types
from tfx.components.trainer import component as tfx_trainer
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components import code_hash
from components.trainer import executor, trainer
from components.trainer.config import TrainerConfig
from schemas import artifacts, keys

CODE = (
    "components.trainer",
    "components.dataset",
    "components.evaluation_gate.metrics",
    "components.polars_example_gen.features",
    "schemas",
)
"""What the executor runs."""


class TrainerSpec(component_spec.ComponentSpec):
    """TFX's parameters, and those that a run-time parameter can carry: TFX puts none into `custom_config`."""

    PARAMETERS = {
        **standard_component_specs.TrainerSpec.PARAMETERS,
        executor.EPOCHS: component_spec.ExecutionParameter(type=int),
        executor.RETRIEVAL_WEIGHT: component_spec.ExecutionParameter(type=float),
    }
    INPUTS = {
        **standard_component_specs.TrainerSpec.INPUTS,
        keys.MOVIE_CATALOG: component_spec.ChannelParameter(type=artifacts.MovieCatalog),
        keys.USER_HISTORIES: component_spec.ChannelParameter(type=artifacts.UserHistories),
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
        train_split: str,
        eval_split: str,
        config: TrainerConfig,
        epochs: int | RuntimeParameter | None = None,
        retrieval_weight: float | RuntimeParameter | None = None,
        hyperparameters: types.BaseChannel | None = None,
    ) -> None:
        """Create the component.

        Args:
          examples: Raw examples.
          transform_graph: What Transform learned.
          schema: Schema of the raw examples.
          movie_catalog: Every movie with its features, from which negatives are drawn.
          user_histories: Every rating, of which the user tower reads the latest.
          train_split: Split to train on.
          eval_split: Split that early stopping looks at.
          config: Trainer configuration.
          epochs: Instead of the configuration's.
          retrieval_weight: Instead of the configuration's.
          hyperparameters: What a Tuner found, instead of the configuration's.
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
                run_fn=trainer.RUN_FN,
                train_args=trainer_pb2.TrainArgs(splits=[train_split]),
                eval_args=trainer_pb2.EvalArgs(splits=[eval_split]),
                custom_config=json_utils.dumps(
                    {
                        trainer.CONFIG: TypeAdapter(TrainerConfig).dump_json(config).decode(),
                        code_hash.PROPERTY: code_hash.of(*CODE),
                    }
                ),
                epochs=config.epochs if epochs is None else epochs,
                retrieval_weight=config.retrieval_weight if retrieval_weight is None else retrieval_weight,
                model=channel.Channel(type=standard_artifacts.Model),
                model_run=channel.Channel(type=standard_artifacts.ModelRun),
            ),
        )

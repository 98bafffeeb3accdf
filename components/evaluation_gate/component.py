"""EvaluationGate, a TFX component."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs

from components import code_hash
from components.evaluation_gate import executor
from components.evaluation_gate.config import GateConfig
from schemas import artifacts, configuration, keys


class EvaluationGateSpec(component_spec.ComponentSpec):
    """Parameters and channels of `EvaluationGate`."""

    PARAMETERS = {
        configuration.CONFIG: component_spec.ExecutionParameter(type=str),
        keys.SERVING_DIR: component_spec.ExecutionParameter(type=str),
        keys.SERVING_DIR_ID: component_spec.ExecutionParameter(type=str),
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        standard_component_specs.MODEL_KEY: component_spec.ChannelParameter(type=standard_artifacts.Model),
        keys.MODEL_RUN: component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        keys.MOVIE_CATALOG: component_spec.ChannelParameter(type=artifacts.MovieCatalog),
        keys.USER_HISTORIES: component_spec.ChannelParameter(type=artifacts.UserHistories),
    }
    OUTPUTS = {
        standard_component_specs.EVALUATION_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.ModelEvaluation
        ),
        standard_component_specs.BLESSING_KEY: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class EvaluationGate(base_component.BaseComponent):
    """Measures a model on the held-out ratings and blesses it if it is good enough to be served."""

    SPEC_CLASS = EvaluationGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        movie_catalog: types.BaseChannel,
        user_histories: types.BaseChannel,
        serving_dir: str | RuntimeParameter,
        config: GateConfig | RuntimeParameter | None = None,
        serving_dir_id: str = "",
    ) -> None:
        """Create the component.

        Args:
          model: The trained model.
          model_run: What the Trainer noted of every epoch, for the report.
          movie_catalog: Every movie with its features.
          user_histories: Every rating with its split.
          serving_dir: Path or URI of the served versions; the newest is compared with.
          config: Thresholds, or a run-time parameter with their JSON.
          serving_dir_id: Identifies the serving root's content; an emptied root gets another, which misses the cache.
        """
        super().__init__(
            EvaluationGateSpec(
                model=model,
                model_run=model_run,
                movie_catalog=movie_catalog,
                user_histories=user_histories,
                config=configuration.to_property(config or GateConfig()),
                serving_dir=serving_dir,
                serving_dir_id=serving_dir_id,
                code_hash=code_hash.of(executor.__name__),
                evaluation=channel.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=channel.Channel(type=standard_artifacts.ModelBlessing),
            )
        )

"""Pusher, a TFX component."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs

from components import code_hash
from components.pusher import executor
from components.pusher.config import PusherConfig
from schemas import artifacts, configuration, keys


class PusherSpec(component_spec.ComponentSpec):
    """Parameters and channels of `Pusher`."""

    PARAMETERS = {
        keys.SERVING_DIR: component_spec.ExecutionParameter(type=str),
        keys.SERVING_DIR_ID: component_spec.ExecutionParameter(type=str),
        configuration.CONFIG: component_spec.ExecutionParameter(type=str),
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        standard_component_specs.MODEL_KEY: component_spec.ChannelParameter(type=standard_artifacts.Model),
        standard_component_specs.MODEL_BLESSING_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.ModelBlessing
        ),
        keys.MOVIE_CATALOG: component_spec.ChannelParameter(type=artifacts.MovieCatalog),
        keys.USER_HISTORIES: component_spec.ChannelParameter(type=artifacts.UserHistories),
    }
    OUTPUTS = {
        standard_component_specs.PUSHED_MODEL_KEY: component_spec.ChannelParameter(type=standard_artifacts.PushedModel)
    }


class Pusher(base_component.BaseComponent):
    """Publishes the user tower for TensorFlow Serving and the movie index of the same version."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        movie_catalog: types.BaseChannel,
        user_histories: types.BaseChannel,
        serving_dir: str | RuntimeParameter,
        config: PusherConfig | RuntimeParameter | None = None,
        serving_dir_id: str = "",
    ) -> None:
        """Create the component.

        Args:
          model: The trained model.
          model_blessing: The gate's decision.
          movie_catalog: Every movie with its features.
          user_histories: Every rating.
          serving_dir: Path or URI under which versions are published.
          config: Pusher configuration, or a run-time parameter with its JSON.
          serving_dir_id: Identifies the serving root's content; an emptied root gets another, which misses the cache.
        """
        super().__init__(
            PusherSpec(
                model=model,
                model_blessing=model_blessing,
                movie_catalog=movie_catalog,
                user_histories=user_histories,
                serving_dir=serving_dir,
                serving_dir_id=serving_dir_id,
                config=configuration.to_property(config or PusherConfig()),
                code_hash=code_hash.of(executor.__name__),
                pushed_model=channel.Channel(type=standard_artifacts.PushedModel),
            )
        )

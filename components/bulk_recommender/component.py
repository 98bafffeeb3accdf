"""BulkRecommender, a TFX component."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs

from components import code_hash
from components.bulk_recommender import executor
from components.bulk_recommender.config import BulkConfig
from schemas import artifacts, configuration, keys


class BulkRecommenderSpec(component_spec.ComponentSpec):
    """Parameters and channels of `BulkRecommender`."""

    PARAMETERS = {
        keys.SERVING_DIR: component_spec.ExecutionParameter(type=str),
        keys.SERVING_DIR_ID: component_spec.ExecutionParameter(type=str),
        configuration.CONFIG: component_spec.ExecutionParameter(type=str),
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        standard_component_specs.PUSHED_MODEL_KEY: component_spec.ChannelParameter(type=standard_artifacts.PushedModel)
    }
    OUTPUTS = {keys.LISTS: component_spec.ChannelParameter(type=artifacts.RecommendationLists)}


class BulkRecommender(base_component.BaseComponent):
    """Writes a list of movies for every known user once the Pusher is done."""

    SPEC_CLASS = BulkRecommenderSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        pushed_model: types.BaseChannel,
        serving_dir: str | RuntimeParameter,
        config: BulkConfig | RuntimeParameter | None = None,
        serving_dir_id: str = "",
    ) -> None:
        """Create the component.

        Args:
          pushed_model: What the Pusher did.
          serving_dir: Path or URI of the served versions.
          config: How many movies a list has, or a run-time parameter with its JSON.
          serving_dir_id: Identifies the serving root's content for the cache.
        """
        super().__init__(
            BulkRecommenderSpec(
                pushed_model=pushed_model,
                serving_dir=serving_dir,
                serving_dir_id=serving_dir_id,
                config=configuration.to_property(config or BulkConfig()),
                code_hash=code_hash.of(executor.__name__),
                lists=channel.Channel(type=artifacts.RecommendationLists),
            )
        )

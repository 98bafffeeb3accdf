"""WarmStart, a TFX component."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import channel, component_spec

from components import code_hash
from components.trainer.config import TrainerConfig
from components.warm_start import executor
from components.warm_start.config import WarmStartConfig
from schemas import artifacts, configuration, keys


class WarmStartSpec(component_spec.ComponentSpec):
    """Parameters and channels of `WarmStart`."""

    PARAMETERS = {
        configuration.CONFIG: component_spec.ExecutionParameter(type=str),
        keys.TRAINER_CONFIG: component_spec.ExecutionParameter(type=str),
        keys.SERVING_DIR: component_spec.ExecutionParameter(type=str),
        keys.SERVING_DIR_ID: component_spec.ExecutionParameter(type=str),
        keys.SERVED_VERSION: component_spec.ExecutionParameter(type=str),
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {keys.BASE_MODEL: component_spec.ChannelParameter(type=artifacts.BaseModel)}


class WarmStart(base_component.BaseComponent):
    """Hands the served model on to whoever reads rows and trains, unless a training from the start is due."""

    SPEC_CLASS = WarmStartSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        serving_dir: str | RuntimeParameter,
        trainer_config: TrainerConfig | RuntimeParameter | None = None,
        config: WarmStartConfig | RuntimeParameter | None = None,
        serving_dir_id: str = "",
        served_version: str = "",
    ) -> None:
        """Create the component.

        Args:
          serving_dir: Path or URI of the served versions.
          trainer_config: How the next model is trained, or a run-time parameter with its JSON.
          config: When a training from the start is due, likewise.
          serving_dir_id: Identifies the serving root's content for the cache.
          served_version: The version now served, likewise.
        """
        super().__init__(
            WarmStartSpec(
                serving_dir=serving_dir,
                trainer_config=configuration.to_property(trainer_config or TrainerConfig()),
                config=configuration.to_property(config or WarmStartConfig()),
                serving_dir_id=serving_dir_id,
                served_version=served_version,
                code_hash=code_hash.of(executor.__name__),
                base_model=channel.Channel(type=artifacts.BaseModel),
            )
        )

"""StrictExampleValidator, a TFX component."""

from __future__ import annotations

from tfx import components as tfx_components
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components import code_hash
from components.example_validator import executor


class StrictExampleValidatorSpec(component_spec.ComponentSpec):
    """ExampleValidator's, and the hash of the code."""

    PARAMETERS = {
        **standard_component_specs.ExampleValidatorSpec.PARAMETERS,
        code_hash.PROPERTY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = standard_component_specs.ExampleValidatorSpec.INPUTS
    OUTPUTS = standard_component_specs.ExampleValidatorSpec.OUTPUTS


class StrictExampleValidator(tfx_components.ExampleValidator):
    """Stops the pipeline before training if a feature breaks the schema."""

    SPEC_CLASS = StrictExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, statistics: types.BaseChannel, schema: types.BaseChannel) -> None:
        """Create the component.

        Args:
          statistics: Statistics of the examples; every split of them is looked at.
          schema: What the examples must be like.
        """
        # BaseComponent's, not the parent's: ExampleValidator builds its own spec.
        base_component.BaseComponent.__init__(
            self,
            spec=StrictExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                exclude_splits=json_utils.dumps([]),
                code_hash=code_hash.of(executor.__name__),
                anomalies=channel.Channel(type=standard_artifacts.ExampleAnomalies),
            ),
        )

"""Configuration of a run: one frozen dataclass a part, from YAML and flags."""

from __future__ import annotations

import dataclasses
import pathlib
import typing
from typing import Any

import yaml
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from components.bulk_recommender.config import BulkConfig
from components.evaluation_gate.config import GateConfig
from components.polars_example_gen.config import ExampleGenConfig
from components.pusher.config import PusherConfig
from components.trainer.config import TrainerConfig
from components.tuner.config import TunerConfig
from components.warm_start.config import WarmStartConfig
from pipeline.kubeflow.config import KubeflowConfig
from schemas import data_spec as data_specification
from schemas.configuration import FROZEN, build, fields_of


@dataclass(frozen=True, config=FROZEN)
class BeamConfig:
    """Where the components that use Beam run."""

    beam_args: tuple[str, ...] = ()
    """Arguments of the Beam runner, such as --runner=FlinkRunner; in this process by default."""


@dataclass(frozen=True, config=FROZEN)
class RunConfig:
    """Everything that a run can be told, beside where its data and output lie."""

    data: ExampleGenConfig = dataclasses.field(default_factory=ExampleGenConfig)
    """How the data set is read and split."""
    beam: BeamConfig = dataclasses.field(default_factory=BeamConfig)
    """Where the components that use Beam run."""
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    """The towers and their training."""
    tuner: TunerConfig = dataclasses.field(default_factory=TunerConfig)
    """A search for better hyperparameters before the training."""
    warm_start: WarmStartConfig = dataclasses.field(default_factory=WarmStartConfig)
    """Whether training goes on from the served model."""
    gate: GateConfig = dataclasses.field(default_factory=GateConfig)
    """What a model must reach to be pushed."""
    pusher: PusherConfig = dataclasses.field(default_factory=PusherConfig)
    """What is published."""
    bulk: BulkConfig = dataclasses.field(default_factory=BulkConfig)
    """Lists for every known user."""
    kubeflow: KubeflowConfig = dataclasses.field(default_factory=KubeflowConfig)
    """How a compiled pipeline runs on a cluster."""


def to_yaml(config: RunConfig) -> str:
    """Serialise a configuration."""
    return yaml.safe_dump(TypeAdapter(RunConfig).dump_python(config, mode="json"), sort_keys=False)


def load(path: str | None, overrides: dict[str, Any], data_spec: str | None = None) -> RunConfig:
    """Build a configuration from a YAML file and from single fields.

    Args:
      path: YAML file with the sections of `RunConfig`, or None for the defaults.
      overrides: Field name -> value; a field's name belongs to one section. None values are skipped.
      data_spec: YAML file of a data specification, or the name of a built-in one.

    Returns:
      The configuration.

    Raises:
      ValueError: The file is not there or no YAML, or a value is unknown or out of range; the message names it.
    """
    where = path or "the options"
    try:
        values = yaml.safe_load(pathlib.Path(path).read_text(encoding="utf-8")) or {} if path else {}
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the configuration {path}: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no sections; expected {', '.join(sections())}")
    owners = {name: section for section, cls in sections().items() for name in fields_of(cls)}
    for name, value in overrides.items():
        if value is not None:
            values.setdefault(owners[name], {})[name] = value
    config = build(RunConfig, values, where)
    if data_spec is None:
        return config
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, data_spec=data_specification.load(data_spec))
    )


def sections() -> dict[str, type]:
    """Return the sections of `RunConfig` and their classes."""
    hints = typing.get_type_hints(RunConfig)
    return {field.name: hints[field.name] for field in dataclasses.fields(RunConfig)}

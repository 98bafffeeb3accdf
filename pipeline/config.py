"""Configuration of a run: one frozen dataclass a part, from YAML and flags."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from components.evaluation_gate.config import GateConfig
from components.polars_example_gen.split import SplitConfig
from components.pusher.config import PusherConfig
from components.trainer.config import TrainerConfig
from components.tuner.config import TunerConfig
from pipeline.kubeflow.config import KubeflowConfig
from schemas.configuration import FROZEN

_Config = TypeVar("_Config")


@dataclass(frozen=True, config=FROZEN)
class DataConfig:
    """How the data set is read."""

    on_bad_rows: Literal["fail", "drop"] = "fail"
    """What a bad row does: reject the data set, or be counted and left out."""
    max_bad_rows: Annotated[float, Field(ge=0, le=1)] = 0.01
    """With drop, the largest share of bad rows."""
    rows_per_shard: Annotated[int, Field(ge=1)] = 500_000
    """Ratings per user partition, which is the most that a worker holds, and per shard."""
    chunk_bytes: Annotated[int, Field(ge=1024)] = 32 << 20
    """Bytes of a CSV file that are read at a time."""
    sample_rows: Annotated[int, Field(ge=1)] = 1_000_000
    """Train ratings, about, from which statistics, the constants of Transform and its vocabulary of movies are taken:
    a random sample where there are more."""
    beam_args: tuple[str, ...] = ()
    """Arguments of the Beam runner, such as --runner=FlinkRunner; in this process by default."""


@dataclass(frozen=True, config=FROZEN)
class RunConfig:
    """Everything that a run can be told, beside where its data and output lie."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """How the data set is read."""
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    """How ratings are split into train and eval."""
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    """The towers and their training."""
    tuner: TunerConfig = dataclasses.field(default_factory=TunerConfig)
    """A search for better hyperparameters before the training."""
    gate: GateConfig = dataclasses.field(default_factory=GateConfig)
    """What a model must reach to be pushed."""
    pusher: PusherConfig = dataclasses.field(default_factory=PusherConfig)
    """What is published."""
    kubeflow: KubeflowConfig = dataclasses.field(default_factory=KubeflowConfig)
    """How a compiled pipeline runs on a cluster."""


def to_yaml(config: RunConfig) -> str:
    """Serialise a configuration."""
    return yaml.safe_dump(TypeAdapter(RunConfig).dump_python(config, mode="json"), sort_keys=False)


def load(path: str | None, overrides: dict[str, Any]) -> RunConfig:
    """Build a configuration from a YAML file and from single fields.

    Args:
      path: YAML file with the sections of `RunConfig`, or None for the defaults.
      overrides: Field name -> value; a field's name belongs to one section. None values are skipped.

    Returns:
      The configuration.

    Raises:
      ValueError: The file is not there or no YAML, or a value is unknown or out of range; the message names it.
    """
    where = path or "the options"
    try:
        values = yaml.safe_load(pathlib.Path(path).read_text()) or {} if path else {}
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the configuration {path}: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no sections; expected {', '.join(sections())}")
    owners = {name: section for section, cls in sections().items() for name in cls.__pydantic_fields__}
    for name, value in overrides.items():
        if value is not None:
            values.setdefault(owners[name], {})[name] = value
    return build(RunConfig, values, where)


def build(cls: type[_Config], values: dict[str, Any], where: str = "the options") -> _Config:
    """Build a configuration class from plain data.

    Raises:
      ValueError: A value is unknown or out of range; the message names it and where it was given.
    """
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors())
        raise ValueError(f"{where}: {problems}") from None


def sections() -> dict[str, type]:
    """Return the sections of `RunConfig` and their classes."""
    return {
        "data": DataConfig,
        "split": SplitConfig,
        "trainer": TrainerConfig,
        "tuner": TunerConfig,
        "gate": GateConfig,
        "pusher": PusherConfig,
        "kubeflow": KubeflowConfig,
    }

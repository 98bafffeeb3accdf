"""Configuration of the Tuner."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN


@dataclass(frozen=True, config=FROZEN)
class TunerConfig:
    """Whether and how long hyperparameters are searched for."""

    trials: Annotated[int, Field(ge=0)] = 0
    """Configurations that the Tuner trains, the given one first; 0 leaves the Tuner out of the pipeline."""

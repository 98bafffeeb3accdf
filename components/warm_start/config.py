"""Configuration of WarmStart."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN


@dataclass(frozen=True, config=FROZEN)
class WarmStartConfig:
    """Whether training goes on from the served model."""

    warm_start: bool = False
    """Whether training goes on from the served model instead of starting anew, where it can."""
    max_age_days: Annotated[float, Field(ge=0)] = 30.0
    """Days after which a training from the start is due."""

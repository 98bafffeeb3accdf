"""Configuration of BulkRecommender."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN


@dataclass(frozen=True, config=FROZEN)
class BulkConfig:
    """Whether lists are written for every known user."""

    list_movies: Annotated[int, Field(ge=0)] = 0
    """How many movies each known user's list has, written after the publication; 0: no lists."""

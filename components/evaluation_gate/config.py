"""Configuration of the evaluation gate."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN


@dataclass(frozen=True, config=FROZEN)
class GateConfig:
    """What a model must reach to be blessed."""

    max_rmse: Annotated[float, Field(gt=0)] | None = None
    """Largest RMSE on the data set's scale; unset, the RMSE of the global mean."""
    min_recall: Annotated[float, Field(ge=0, le=1)] | None = None
    """Smallest recall@10; unset, none is asked for."""
    min_recall_vs_popularity: Annotated[float, Field(ge=0)] = 1.0
    """Smallest recall@10 as a multiple of the popularity list's; 0 asks for none."""
    max_rmse_increase: Annotated[float, Field(ge=0)] = 0.01
    """How much worse than the served model's the RMSE may be, on the data set's scale."""
    max_recall_decrease: Annotated[float, Field(ge=0)] = 0.01
    """How much lower than the served model's recall@10 may be."""
    max_ranking_users: Annotated[int, Field(ge=1)] = 20_000
    """Users that the ranking metrics look at; more are sampled."""
    live_metrics: str | None = None
    """Path or URI of the service's metrics, such as http://localhost:8000/metrics: the report says how far those who
    ask are from those the served model has learned from. Unset, it says nothing of it."""

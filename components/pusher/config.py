"""Configuration of the Pusher."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN


@dataclass(frozen=True, config=FROZEN)
class PusherConfig:
    """What is published and how long it stays."""

    keep_versions: Annotated[int, Field(ge=1)] = 3
    """How many versions stay under the serving root."""
    index_factory: str = "Flat"
    """FAISS index_factory string: Flat is exact; HNSW32 or IVF... for very large catalogues."""

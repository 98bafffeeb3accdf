"""Configuration of PolarsExampleGen."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN
from schemas.data_spec import DataSpec, named


@dataclass(frozen=True, config=FROZEN)
class ExampleGenConfig:
    """How the data set is read and split."""

    data_spec: DataSpec = dataclasses.field(default_factory=named)
    """How the tables are written, and what they hold."""
    on_bad_rows: Literal["fail", "drop"] = "fail"
    """What a bad row does: reject the data set, or be counted and left out."""
    max_bad_rows: Annotated[float, Field(ge=0, le=1)] = 0.01
    """With drop, the largest share of bad rows."""
    eval_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of each user's ratings that is held out for evaluation, the last by time."""
    min_ratings: Annotated[int, Field(ge=1)] = 5
    """Users with fewer ratings than this are train only."""
    eval_after_s: int | None = None
    """Cut-off as Unix time in seconds: ratings at or after it are held out, instead of the share per user."""
    span_window: Annotated[int, Field(ge=0)] = 0
    """How many of the latest spans are read where the data's path has {SPAN} in place of a number; 0: all."""
    rows_per_shard: Annotated[int, Field(ge=1)] = 500_000
    """Ratings per user partition, which is the most that a worker holds, and per shard."""
    chunk_bytes: Annotated[int, Field(ge=1024)] = 32 << 20
    """Bytes of a CSV file that are read at a time."""
    max_line_bytes: Annotated[int, Field(ge=256)] = 1 << 20
    """Longest line of a CSV file that is read to its end; a longer one may be cut, and is a bad row then."""
    max_movies_bytes: Annotated[int, Field(ge=1024)] = 1 << 30
    """Largest movies table in bytes, which is read at once."""
    max_unpacked_ratio: Annotated[float, Field(ge=1)] = 100.0
    """How many times its own size a zip may unpack to, where that is more than 64 MiB."""
    sample_rows: Annotated[int, Field(ge=1)] = 200_000
    """Train ratings, about, from which statistics and the constants of Transform are taken: a random sample where there
    are more."""
    replay_rows: Annotated[int, Field(ge=0)] = 1_000_000
    """Older train ratings that become examples beside the new ones, about, where training goes on from a model."""
    shuffle_seed: int = 0
    """Seed of the order of the examples and of the samples; the Trainer has its own."""

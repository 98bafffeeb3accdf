"""What a data set's ratings and categories are: it travels with the artifacts and in the manifest of an index.

Inside, every rating is in stars: the data set's scale, stretched to 0.5 to 5, so that what was chosen for one scale
holds on any. What a person sees or sends is on the data set's own scale.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas import features as f
from schemas.configuration import FROZEN

_MOST_STEPS = 255
_ROUNDING, _DIGITS = 1e-4, 4


@dataclass(frozen=True, config=FROZEN)
class Scale:
    """The scale of ratings."""

    min: float = 0.5
    """Lowest rating."""
    max: float = 5.0
    """Highest rating."""
    step: Annotated[float, Field(gt=0)] = 0.5
    """What lies between two ratings that are next to each other."""
    liked: float = 4.0
    """From this rating on something counts as liked: relevant in ranking metrics, and what reasons are made of."""

    @model_validator(mode="after")
    def _fits(self) -> Scale:
        if not self.min < self.max:
            raise ValueError(f"min is {self.min:g} and max {self.max:g}; min must be below max")
        if not np.isclose(self.min + (self.steps - 1) * self.step, self.max):
            raise ValueError(f"steps of {self.step:g} do not lead from {self.min:g} to {self.max:g}")
        if self.steps > _MOST_STEPS:
            raise ValueError(f"{self.steps} steps from {self.min:g} to {self.max:g}, at most {_MOST_STEPS}")
        if not self.min <= self.liked <= self.max:
            raise ValueError(f"liked is {self.liked:g}, outside of {self.min:g} to {self.max:g}")
        return self

    def __str__(self) -> str:
        return f"{self.min:g} to {self.max:g} in steps of {self.step:g}"

    @property
    def steps(self) -> int:
        """How many ratings there are on the scale."""
        return round((self.max - self.min) / self.step) + 1

    @property
    def unit(self) -> float:
        """How much of the data set's scale a star is: 1 where the scale is that of the stars."""
        return (self.max - self.min) / (f.RATING_MAX - f.RATING_MIN)

    @property
    def is_stars(self) -> bool:
        """Whether the scale's ends are those of the stars."""
        return (self.min, self.max) == (f.RATING_MIN, f.RATING_MAX)

    @property
    def liked_stars(self) -> float:
        """`liked` in stars, on the safe side of rounding."""
        return float(self.to_stars(self.liked)) - (0.0 if self.is_stars else _ROUNDING)

    @property
    def liked_step(self) -> int:
        """`liked` in steps."""
        return int(np.ceil(np.round((self.liked - self.min) / self.step, 6))) + 1

    def to_stars(self, ratings: Any) -> Any:
        """Turn ratings into stars: numbers, arrays or Polars expressions."""
        if self.is_stars:
            return ratings
        return (ratings - self.min) / self.unit + f.RATING_MIN

    def of_stars(self, stars: Any) -> Any:
        """Turn stars into ratings: numbers, arrays or Polars expressions."""
        if self.is_stars:
            return stars
        return (stars - f.RATING_MIN) * self.unit + self.min

    def given(self, stars: np.ndarray) -> np.ndarray:
        """Turn stars that somebody gave into ratings, without what single precision has added to them."""
        if self.is_stars:
            return stars
        ratings: np.ndarray = np.round(self.of_stars(np.asarray(stars, np.float64)), _DIGITS)
        return ratings

    def steps_of_stars(self, stars: Any) -> np.ndarray:
        """Turn stars into steps of the scale from 1 on, uint8."""
        return (np.rint((np.asarray(stars) - f.RATING_MIN) / self.star_step) + 1).astype(np.uint8)

    def stars_of_steps(self, steps: Any) -> Any:
        """Turn steps of the scale, from 1 on, into stars: float32 arrays or tensors."""
        return steps * self.star_step + (f.RATING_MIN - self.star_step)

    @property
    def star_step(self) -> float:
        """A step of the scale in stars."""
        return (f.RATING_MAX - f.RATING_MIN) / (self.steps - 1)

    def nearest(self, rating: float) -> float:
        """Return the rating on the scale that is nearest to a number."""
        steps = round((min(max(rating, self.min), self.max) - self.min) / self.step)
        return round(self.min + steps * self.step, 6)


@dataclass(frozen=True, config=FROZEN)
class Domain:
    """What a data set is about."""

    categories: tuple[str, ...]
    """Names of the categories, of films the genres, in the order of every category vector. The first one is that of
    whatever has none."""
    scale: Scale = dataclasses.field(default_factory=Scale)
    """The scale of the ratings."""
    years: tuple[int, int] = (1870, 2100)
    """First and last year that is not absurd."""
    timed: bool = True
    """Whether ratings have a time."""
    text_user_ids: bool = False
    """Whether users are text: `schemas.ids` then makes the numbers that all else knows them by."""
    text_item_ids: bool = False
    """The same of movies, or whatever is rated."""

    @model_validator(mode="after")
    def _fits(self) -> Domain:
        if len(set(self.categories)) < max(len(self.categories), 1):
            raise ValueError("categories must be given, and each once")
        return self

    @property
    def num_categories(self) -> int:
        """Length of a category vector."""
        return len(self.categories)

    @property
    def none(self) -> str:
        """The category of whatever has none."""
        return self.categories[0]

"""Events, and what they change of what a version knows of a user."""

from __future__ import annotations

import dataclasses
from typing import Final, Literal

from serving.answers import Id
from serving.changes import Changes

RATING: Final = "rating"
WITHDRAWN: Final = "withdrawn"
"""A rating that was taken back."""
SEEN: Final = "seen"
NOT_FOR_ME: Final = "not_for_me"
IMPRESSION: Final = "impression"
CLICK: Final = "click"
FORGET: Final = "forget"
"""Everything of the user before it is gone."""
Told = Literal["rating", "seen", "not_for_me", "impression", "click"]
"""Kinds that anybody may send; the others have routes of their own."""
Kind = Told | Literal["withdrawn", "forget"]
CHANGING: Final = (RATING, WITHDRAWN, SEEN, NOT_FOR_ME, FORGET)
"""Kinds that change what is recommended."""


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that a user did."""

    key: str
    """Of one user no two events have the same: what is sent again is not counted again."""
    user_id: str
    """As the data has it."""
    kind: Kind
    at_s: int
    """When, Unix seconds."""
    movie_id: str | None = None
    """As the data has it; None of FORGET."""
    rating: float | None = None
    """On the data's scale, of RATING."""
    model_version: int | None = None
    """The version whose answer the user saw."""


def changes_of(rows: list[tuple[int, str, str | None, float | None, int]]) -> Changes | None:
    """Return what a user's events change; None where there are none.

    Args:
      rows: Number, kind, movie, rating and time of each that changes something, by their numbers: clocks go back.
    """
    if not rows:
        return None
    ratings: dict[Id, float | None] = {}
    times: dict[Id, int] = {}
    hidden: dict[Id, None] = {}
    forgotten = None
    for _, kind, movie, rating, at_s in rows:
        if kind == FORGET:
            ratings, times, hidden, forgotten = {}, {}, {}, at_s
        elif movie is None:
            continue
        elif kind in (SEEN, NOT_FOR_ME):
            hidden[movie] = None
        else:
            ratings.pop(movie, None)
            ratings[movie], times[movie] = rating if kind == RATING else None, at_s
    return Changes(rows[-1][0], ratings, times, tuple(hidden), forgotten)

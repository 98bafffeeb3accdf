"""Every user's ratings, as the served index holds them: two tables that can stay on disk."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from schemas.domain import Scale

USERS_DTYPE = np.dtype([("user_id", "<i8"), ("end", "<i8")])
RATINGS_DTYPE = np.dtype([("movie", "<i4"), ("step", "u1"), ("timestamp", "<i8")])


class Ratings(Protocol):
    """Rows of `RATINGS_DTYPE`: an array, or what reads from a file as one."""

    @property
    def dtype(self) -> np.dtype:
        """`RATINGS_DTYPE`, where it is in order."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Histories:
    """Ratings by user and time: 13 bytes a rating and 16 a user, the ratings in memory or in a file."""

    users: np.ndarray
    """`[users]` of (`user_id`, `end`: the row behind the user's last rating), ascending."""
    ratings: Ratings
    """`[ratings]` of (`movie`: position in the catalogue, `step`: the rating in steps of the scale from 1 on,
    `timestamp`: Unix seconds, 0 where there is no time)."""
    scale: Scale = dataclasses.field(default_factory=Scale)
    """The data set's."""

    @classmethod
    def of(
        cls,
        user_ids: np.ndarray,
        movies: np.ndarray,
        stars: np.ndarray,
        timestamps: np.ndarray,
        scale: Scale = Scale(),  # noqa: B008  Frozen.
    ) -> Histories:
        """Make the tables of columns that are sorted by user and time, `[ratings]` each, and the data set's scale."""
        ids, starts = np.unique(user_ids, return_index=True)
        users, ratings = np.empty(len(ids), USERS_DTYPE), np.empty(len(movies), RATINGS_DTYPE)
        users["user_id"], users["end"] = ids, np.append(starts, len(movies))[1:]
        ratings["movie"], ratings["timestamp"] = movies, timestamps
        ratings["step"] = scale.steps_of_stars(stars)
        return cls(users, ratings, scale)

    @property
    def user_ids(self) -> np.ndarray:
        """`[users]` int64, ascending; a copy."""
        return np.array(self.users["user_id"])

    @property
    def offsets(self) -> np.ndarray:
        """`[users + 1]` int64: where each user's ratings begin, and where the last one's end; a copy."""
        return np.append(0, self.users["end"])

    def moved(self, places: np.ndarray) -> Histories:
        """Return the same ratings in another catalogue.

        Args:
          places: `[movies]` where each movie is there.
        """
        ratings = np.array(self.ratings[:])
        ratings["movie"] = places[ratings["movie"]]
        return dataclasses.replace(self, ratings=ratings)

    def __getitem__(self, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return positions of movies int32, stars float32 and timestamps int64 of some ratings."""
        part = self.ratings[rows]
        stars = np.asarray(self.scale.stars_of_steps(part["step"].astype(np.float32)), np.float32)
        return np.array(part["movie"]), stars, np.array(part["timestamp"])

"""What is known of users: a version's histories, what came since, and what a new user says of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from schemas import features as f
from schemas.ingest import TITLE
from schemas.user_features import no_ratings, user_tower_inputs
from serving.answers import Id, Profile, UnknownIdError
from serving.catalogue import PreparedIndex
from serving.changes import Changes
from serving.index import constants_of
from serving.lookup import Lookup, shown

_DIGITS = 6
"""Of ratings, behind the point: what single precision has."""

Ratings = Mapping[Id, float] | Iterable[tuple[Id, float]]
"""A new user's: movie -> rating, or pairs of both."""


class Profiles(Lookup):
    """Looks up what one version knows of users, and makes the user tower's inputs of it.

    A user's features come from every rating that is known of them, so that a known user and a new one with the same
    ratings get the same answer.
    """

    def __init__(self, index: PreparedIndex) -> None:
        """Look into a version's histories."""
        super().__init__(index)
        self._histories, self._offsets = index.histories, self.catalogue.offsets
        self._genres, self._scale = self.catalogue.genres, self._domain.scale
        self._constants = constants_of(index.manifest)

    def profile(self, user_id: Id | None = None, ratings: Ratings | None = None) -> Profile:
        """Look up a known user, or take a new one's ratings, latest last.

        Raises:
          ValueError: Neither or both are given, a movie is rated twice, or a rating is off the data set's scale.
          UnknownIdError: The user or a movie is unknown.
        """
        if user_id is not None and ratings is None:
            rows, stars, timestamps = self._histories[self._slice(user_id)]
            return Profile(rows, stars, int(timestamps[-1]), user_id)
        if user_id is not None or ratings is None:
            raise ValueError("pass either user_id or ratings")
        pairs = list(ratings.items() if isinstance(ratings, Mapping) else ratings)
        rows = self.rows([movie for movie, _ in pairs])
        given = np.array([rating for _, rating in pairs], np.float32)
        if len(set(rows.tolist())) < len(rows):
            raise ValueError("a movie is rated twice; pass each movie once")
        off = ~((given >= self._scale.min) & (given <= self._scale.max))
        if off.any():
            raise ValueError(
                f"a rating of {given[off][0]:g} is off the scale, expected {self._scale.min:g} to {self._scale.max:g}"
            )
        return Profile(rows, self._scale.to_stars(given), self._constants.latest_s)

    def changed(self, user_id: Id, changes: Changes | None) -> Profile:
        """Look up a user, known or not, of whom more is known than the version holds.

        Movies that the version does not hold are left out.

        Raises:
          UnknownIdError: Nothing is known of the user.
        """
        if changes is None:
            return self.profile(user_id)
        rows, stars, times = self._ratings(user_id, changes)
        asked_s = min(int(times[-1]), self._constants.latest_s) if len(times) else self._constants.latest_s
        return Profile(rows, stars, asked_s, (user_id, changes.until))

    def history(self, user_id: Id, changes: Changes | None = None) -> pl.DataFrame:
        """Return a user's ratings: `movie_id`, `title`, `rating`, `timestamp`, by time; null where there is none.

        Raises:
          UnknownIdError: The user is unknown.
        """
        rows, stars, timestamps = self._ratings(user_id, changes)
        columns = {
            f.MOVIE_ID: self.catalogue.keys_of(rows),
            TITLE: self.catalogue.titles_of(rows),
            f.RATING: plain(self._scale.given(stars)),
            f.TIMESTAMP: timestamps if self._domain.timed else [None] * len(timestamps),
        }
        key = pl.String if self._domain.text_item_ids else pl.Int64
        return pl.DataFrame(columns, {f.MOVIE_ID: key, TITLE: pl.String, f.RATING: pl.Float64, f.TIMESTAMP: pl.Int64})

    def features(self, profiles: Sequence[Profile]) -> dict[str, np.ndarray]:
        """Return what this version's user tower takes for users, one row each."""
        rows = np.concatenate([profile.rows for profile in profiles])
        stars = np.concatenate([profile.stars for profile in profiles])
        offsets = np.cumsum([0, *(len(profile.rows) for profile in profiles)])
        ids, genres = self._movie_ids[rows], self._genres[rows]
        asked_s = np.array([profile.asked_s for profile in profiles])
        return user_tower_inputs(offsets, ids, genres, stars, asked_s, self._constants)

    def probe_features(self) -> dict[str, np.ndarray]:
        """Return what the user tower takes for a user without ratings; see `Manifest.probe`."""
        return no_ratings(self._constants)

    def _ratings(self, user_id: Id, changes: Changes | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a user's ratings, by time: positions of movies, stars and Unix seconds."""
        try:
            rows, stars, times = self._histories[self._slice(user_id)]
        except UnknownIdError:
            if changes is None or not (changes.ratings or changes.hidden):
                raise
            rows, stars, times = self._histories[:0]
        if changes is None:
            return rows, stars, times
        if changes.forgotten_at_s is not None:
            kept = times > changes.forgotten_at_s
            rows, stars, times = rows[kept], stars[kept], times[kept]
            if not (len(rows) or changes.ratings or changes.hidden):
                raise UnknownIdError(f"user {shown(user_id)} was forgotten")
        held = self.held([*changes.ratings])
        kept = ~np.isin(rows, self.rows(held))
        rated = [movie for movie in held if changes.ratings[movie] is not None]
        given = self._scale.to_stars(np.array([changes.ratings[movie] for movie in rated], np.float32))
        return (
            np.append(rows[kept], self.rows(rated)),
            np.append(stars[kept], given.astype(np.float32)),
            np.append(times[kept], np.array([changes.times[movie] for movie in rated], np.int64)),
        )

    def _slice(self, user_id: Id) -> slice:
        number = int(self._numbers([user_id], self._domain.text_user_ids)[0])
        place = int(np.searchsorted(self._user_ids, number))
        if place == len(self._user_ids) or self._user_ids[place] != number:
            raise UnknownIdError(
                f"user {shown(user_id)} is unknown to version {self.model_version} ({len(self._user_ids):,} users); "
                "pass a few ratings instead"
            )
        return slice(int(self._offsets[place]), int(self._offsets[place + 1]))


def plain(ratings: np.ndarray) -> list[float]:
    """Return ratings as people write them: 3.3, not the 3.299999952316284 that is nearest to it in 32 bits."""
    rounded: list[float] = np.round(ratings.astype(np.float64), _DIGITS).tolist()
    return rounded

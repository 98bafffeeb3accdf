"""Features: their names, one row of a table for each, and the rating scale.

Every name that a tf.Example, a Parquet column or a model input carries is declared here and imported elsewhere. What
the record layout, the curated schema, Transform, the towers and the index need to know of a feature follows from its
row in `FEATURES`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from typing import Any

RATING_MIN = 0.5
RATING_MAX = 5.0
"""The scale of the stars, in which every rating is inside; see `schemas.domain`."""
RATING_CENTRE = (RATING_MIN + RATING_MAX) / 2
RATING_HALF_RANGE = (RATING_MAX - RATING_MIN) / 2
RATING_REACH = 2.0
"""A rating, scaled to [-1, 1], is the cosine of the rating vectors times this: of unit vectors without it no sum of a
movie's average and a user's bias would fit between the bounds."""

USER_ID = "user_id"
MOVIE_ID = "movie_id"
RATING = "rating"
TIMESTAMP = "timestamp"

IDS = (USER_ID, MOVIE_ID, TIMESTAMP)
"""int64[1] features; the user tower reads `timestamp` as the time at which the user is asked about."""

USER_GENRE_RATING = "user_genre_rating"
USER_GENRE_COUNT = "user_genre_count"
USER_GENRE_SHARE = "user_genre_share"
"""Share of a genre among all genre mentions of the user's movies."""
USER_GENRE_PREFERENCE = "user_genre_preference"
"""`user_genre_rating` less the user's mean, in stars."""
USER_ACTIVITY = "user_activity"
"""Number of genre mentions of the user's movies."""
USER_AVERAGE_RATING = "user_average_rating"
"""Mean of `user_genre_rating`, weighted by `user_genre_count`, in stars."""
USER_TIME = "user_time"
"""Where `timestamp` stands among those of the train ratings: weights of evenly spaced points, which sum to 1."""
TIME_POINTS = 33
TIME_REACH = 2.0
"""The first and the last point, in standard deviations of the train ratings' time; evenly spread times have all of
theirs within 1.73."""
SCORE_STEPS = 2.0**16
"""z-scores are rounded to steps of one by this."""
MOVIE_GENRES = "movie_genres"
MOVIE_NUM_RATINGS = "movie_num_ratings"
MOVIE_AVERAGE_RATING = "movie_average_rating"
MOVIE_YEAR = "movie_year"


class Side(enum.Enum):
    """Whose tower reads a feature."""

    USER = "user"
    MOVIE = "movie"


class Scaling(enum.Enum):
    """How Transform standardises a feature, element by element."""

    Z_SCORE = "z_score"
    LOG_Z_SCORE = "log_z_score"
    """The z-score of log(1 + n), of counts."""
    NONE = "none"


@dataclasses.dataclass(frozen=True)
class Feature:
    """One float32 feature that a tower reads."""

    name: str
    side: Side
    length: int | None
    """None: one number a category."""
    scaling: Scaling
    bounds: tuple[float | None, float | None] | None = None
    """Smallest and largest value, if there are such, in an example. Without bounds it is in no example: Transform
    derives it."""

    def width(self, categories: int) -> int:
        """Return how many numbers it has where there are so many categories."""
        return categories if self.length is None else self.length


_STARS = RATING_MIN, RATING_MAX
_COUNT = 0.0, None
_SHARE = 0.0, 1.0

FEATURES = (
    Feature(USER_GENRE_RATING, Side.USER, None, Scaling.Z_SCORE, _STARS),
    Feature(USER_GENRE_COUNT, Side.USER, None, Scaling.LOG_Z_SCORE, _COUNT),
    Feature(USER_GENRE_SHARE, Side.USER, None, Scaling.Z_SCORE),
    Feature(USER_GENRE_PREFERENCE, Side.USER, None, Scaling.Z_SCORE),
    Feature(USER_ACTIVITY, Side.USER, 1, Scaling.LOG_Z_SCORE),
    Feature(USER_AVERAGE_RATING, Side.USER, 1, Scaling.Z_SCORE),
    Feature(USER_TIME, Side.USER, TIME_POINTS, Scaling.NONE),
    Feature(MOVIE_GENRES, Side.MOVIE, None, Scaling.NONE, _SHARE),
    Feature(MOVIE_NUM_RATINGS, Side.MOVIE, 1, Scaling.LOG_Z_SCORE, _COUNT),
    Feature(MOVIE_AVERAGE_RATING, Side.MOVIE, 1, Scaling.Z_SCORE, _STARS),
    Feature(MOVIE_YEAR, Side.MOVIE, 1, Scaling.Z_SCORE, (None, None)),
)
"""Every feature of the towers, in the order in which they read them."""


def _raw(side: Side) -> tuple[str, ...]:
    return tuple(feature.name for feature in FEATURES if feature.side is side and feature.bounds)


USER_FEATURES = _raw(Side.USER)
"""Raw float32 features of the user."""
MOVIE_FEATURES = _raw(Side.MOVIE)
"""Raw float32 features of the movie."""
BOUNDS = {RATING: _STARS} | {feature.name: feature.bounds for feature in FEATURES if feature.bounds}
"""Smallest and largest values of every float32 feature of an example; of the year, those of the data set."""


def lengths(names: Iterable[str], categories: int) -> dict[str, int]:
    """Return how many numbers features have where there are so many categories."""
    widths = {feature.name: feature.width(categories) for feature in FEATURES}
    return {name: widths[name] for name in names}


def example_lengths(categories: int) -> dict[str, int]:
    """Return every float32 feature of an example and its length where there are so many categories."""
    return {RATING: 1, **lengths((*USER_FEATURES, *MOVIE_FEATURES), categories)}


def _scaled(scaling: Scaling) -> tuple[str, ...]:
    return tuple(feature.name for feature in FEATURES if feature.scaling is scaling)


LOG_Z_SCORED = _scaled(Scaling.LOG_Z_SCORE)
Z_SCORED = _scaled(Scaling.Z_SCORE)
STANDARDISED = (*LOG_Z_SCORED, *Z_SCORED)
"""What Transform learns the means and deviations of, in this order, and behind it of the timestamp."""

USER_INPUTS = tuple(feature.name for feature in FEATURES if feature.side is Side.USER)
"""What the user tower reads of Transform's outputs; beside them, the history."""
MOVIE_INPUTS = tuple(feature.name for feature in FEATURES if feature.side is Side.MOVIE)
"""What the movie tower reads of Transform's outputs; beside them, `movie_token`."""

USER_HISTORY_MOVIES = "user_history_movies"
"""int64 `[length]`: ids of the movies that the user rated last, the latest first."""
USER_HISTORY_RATINGS = "user_history_ratings"
"""float32 `[length]`: their ratings in stars; 0 where there is no movie."""
HISTORY_LENGTH = 50
"""How many of a user's latest ratings the towers learn from."""
SERVED_HISTORY_LENGTH = 500
"""How many of them serving passes to the user tower: what needs no training reads them all."""

USER_TOWER_INPUTS = (*USER_FEATURES, USER_HISTORY_MOVIES, USER_HISTORY_RATINGS, TIMESTAMP)
"""What the exported user tower takes. Histories are no part of the examples: training looks them up by user."""

# What training makes of an example beside the features of the towers.
LABEL = "label"
"""Rating scaled to [-1, 1], float32[1]."""
MOVIE_LOG_COUNT = "movie_log_count"
"""log(1 + movie_num_ratings), unscaled float32[1]: the logQ correction of the softmax."""
MOVIE_SCALED_AVERAGE = "movie_scaled_average"
"""movie_average_rating scaled to [-1, 1], float32[1]: where the predicted rating starts."""
MOVIE_TOKEN = "movie_token"
"""Place of the movie in the vocabulary of rated movies, from 1; 0 for any other. int32[1]."""
USER_HISTORY_TOKENS = "user_history_tokens"
"""The same of the movies of a history, int32 `[length]`."""


def to_label(stars: Any) -> Any:
    """Scale ratings in stars linearly to [-1, 1]: numbers, arrays or tensors."""
    return (stars - RATING_CENTRE) / RATING_HALF_RANGE


def to_stars(cosine: Any) -> Any:
    """Scale cosines of rating vectors linearly to ratings in stars: numbers, arrays or tensors."""
    return cosine * (RATING_REACH * RATING_HALF_RANGE) + RATING_CENTRE

"""What a history says of a user's taste, without anything that is trained: how much each of its movies counts.

The user tower computes it in Keras, and what serves without TensorFlow in NumPy: the formulas are the same.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from schemas import features as f
from schemas.domain import Domain

POOLS, NUMBERS = 4, 3
"""Means over a history, and numbers of movies; see `pools`."""
DISLIKED_RATING = 2.5
"""A rating of this many stars or fewer is a dislike: it pushes away what is like the movie."""
_LOVED_RATING = 4.5
_LATEST = 15.0
"""Ratings after which the latest's lead has fallen by a factor of e."""
_LASTING = 0.2
"""What a like of long ago still counts, of one."""
_LOVED, _MIDDLING, _DISLIKED = 0.75, 0.2, -0.25
"""How much a favourite counts more than a like, what lies between like and dislike, and a dislike."""
_PRIOR_MOVIES = 10.0
"""Movies with the shares of genres that all have, which every user's likes start from."""
_LEAST_SHARE = 1e-3
_WELL_KNOWN_RATINGS = 10.0
"""Ratings of a user with which popularity counts an eighth."""
_PRIOR_DISLIKES = 2.0
"""Ratings that are no dislikes, which every user starts from: one dislike says little of what everybody likes."""
_ONE_SIDED_AFFINITY = 0.45
"""Length of a user's affinity to genres, in nats, from about which on what everybody likes counts no more."""
_TRAINED_RATINGS, _ASKED_RATINGS = 10.0, 15.0
"""Ratings of a user with which what the perceptrons say of their stars counts a quarter: while they are trained, and
when they are asked, as they say too much of whom they have not been trained with."""
_PRIOR_RATINGS = 8.0
"""Ratings without a difference that every bias starts from, where users differ by `USER_VARIANCE`."""
_PRIOR_VARIANCE = 0.3
_MOST_DIFFERENT = 2.0
"""Stars that a single rating counts as differing at most: one film that somebody detests says little of the others."""
USER_VARIANCE = 0.1
"""Of how users differ throughout from the movies' averages, in squares of stars, where training finds no other."""
_GENRE_VARIANCE, _FACTOR_VARIANCE, _RESIDUAL_VARIANCE, _NOISE_VARIANCE = 0.05, 0.15, 0.1, 0.9
"""The same by genres, by what the same people like, by what they rate better than others do, and from one rating to
the next."""


Array = Any
"""Of the array library: a `keras.KerasTensor`, or an `np.ndarray`."""


class Bias(NamedTuple):
    """How a user's ratings differ from the movies' averages, in stars; `[batch, 1]` each, but for the genres'."""

    of_user: Array
    """Mean difference, shrunken; none counts for more than two stars."""
    log_number: Array
    """log(1 + number of ratings)."""
    spread: Array
    """Standard deviation around it."""
    of_genres: Array
    """`[batch, genres]` the same by genre, beyond the user's bias."""


class Tastes:
    """The formulas, over an array library."""

    def __init__(self, ops: Any, domain: Domain) -> None:
        """Compute with `keras.ops`, or with NumPy's functions of the same names, for a data set."""
        self._ops, self._domain = ops, domain

    def acquaintance(self, stars: Array, training: bool | None = False) -> Array:
        """Return how much the perceptrons say of a user's stars, `[batch, 1]` in [0, 1); `stars` as for `pools`.

        With three ratings it is next to nothing: of these no more can be said than the movie's average, and what the
        ratings themselves let expect.
        """
        number = self._number(stars)
        return self._ops.square(number / (number + (_TRAINED_RATINGS if training else _ASKED_RATINGS)))

    def known(self, stars: Array) -> Array:
        """Return n / (n + 10) of n ratings, `[batch, 1]` in [0, 1): a half with ten; `stars` as for `pools`."""
        number = self._number(stars)
        return number / (number + _WELL_KNOWN_RATINGS)

    def newness(self, stars: Array, affinity: Array) -> Array:
        """Return how much of what everybody likes is the best guess for a user, `[batch, 1]` in [0, 1].

        All of it for somebody of whom nothing is known; less the more ratings are known, the more of them are dislikes,
        and the more they all are of the same genres, or of none of some.

        Args:
          stars: As for `pools`.
          affinity: `[batch, genres]` float32, what `genre_affinity` returns.
        """
        ops, number = self._ops, self._number(stars)
        balance = self.fondness(stars) * number / (number + _PRIOR_DISLIKES)
        one_sided = ops.square(ops.sum(ops.square(affinity), axis=1, keepdims=True) / _ONE_SIDED_AFFINITY**2)
        unless_disliked = ops.clip(1 + 2 * balance, 0.0, 1.0)
        return ops.square(1 - self.known(stars)) * unless_disliked * ops.exp(-one_sided)

    def fondness(self, stars: Array) -> Array:
        """Return the share of likes less that of dislikes, `[batch, 1]` in [-1, 1]; `stars` as for `pools`."""
        ops = self._ops
        _, liked, disliked = self._kinds(stars)
        return ops.sum(liked - disliked, axis=1, keepdims=True) / ops.maximum(self._number(stars), 1.0)

    def bias(self, stars: Array, averages: Array, genres: Array, user_variance: Array) -> Bias:
        """Compare a history's ratings with the movies' averages.

        Args:
          stars: `[batch, n]` float32 ratings in stars; 0 where there is none.
          averages: `[batch, n]` float32 of the movies, in stars.
          genres: `[batch, n, genres]` float32 indicators.
          user_variance: `[]` float32; see `USER_VARIANCE`.
        """
        ops = self._ops
        rated = ops.cast(stars > 0, "float32")
        number = ops.sum(rated, axis=1, keepdims=True)
        differences = (stars - averages) * rated
        prior = _PRIOR_RATINGS * USER_VARIANCE / user_variance
        of_user = ops.sum(self._limited(differences), axis=1, keepdims=True) / (number + prior)
        total = ops.sum(differences, axis=1, keepdims=True)
        mean = total / ops.maximum(number, 1.0)
        squares = ops.sum(ops.square(differences - mean * rated), axis=1, keepdims=True)
        variance = squares / (number + 2) + _PRIOR_VARIANCE
        sums = ops.matmul(ops.stack([rated, differences - of_user * rated], axis=1), genres)
        of_genres = sums[:, 1] / (sums[:, 0] + _PRIOR_RATINGS)
        return Bias(of_user, ops.log1p(number), ops.sqrt(variance), of_genres)

    def leaning(self, stars: Array, averages: Array, genres: Array, factors: Array, user_variance: Array) -> Array:
        """Say what a history's ratings let expect of other movies: Gaussian process regression.

        A user's differences from the movies' averages are taken for a sample of a Gaussian process over movies. Two of
        them have the covariance `user_variance`, and as much of the others as the cosine of their directions says. The
        mean, given the ratings, is a sum of products of the user's and the movie's vectors.

        Args:
          stars: `[batch, n]` float32 ratings in stars; 0 where there is none.
          averages: `[batch, n]` float32 of the movies, in stars.
          genres: `[batch, n, genres]` float32; see `genre_direction`.
          factors: `[batch, n, dim]` float32; see `factor_direction`.
          user_variance: `[]` float32; see `USER_VARIANCE`.

        Returns:
          `[batch, 1 + genres + dim]` float32, in stars beyond the averages: what is expected of any movie, and what
          times a movie's genre direction and factors is expected of that one besides.
        """
        ops = self._ops
        rated = ops.cast(stars > 0, "float32")
        differences = self._limited((stars - averages) * rated)
        genres, factors = genres * rated[:, :, None], factors * rated[:, :, None]
        # The identity matrix: how long it is, is not known while a graph is traced.
        place = ops.cumsum(ops.ones_like(stars), axis=1)
        itself = ops.cast(ops.equal(place[:, :, None], place[:, None]), "float32")
        covariance = (
            user_variance * rated[:, :, None] * rated[:, None]
            + _GENRE_VARIANCE * ops.matmul(genres, ops.swapaxes(genres, 1, 2))
            + _FACTOR_VARIANCE * ops.matmul(factors, ops.swapaxes(factors, 1, 2))
            + _NOISE_VARIANCE * itself
        )
        # In double precision: of what is subtracted from each other little is left.
        exact = ops.solve(ops.cast(covariance, "float64"), ops.cast(differences, "float64")[:, :, None])
        weights = ops.cast(exact, "float32")[:, :, 0]
        parts = [
            user_variance * ops.sum(weights, axis=1, keepdims=True),
            _GENRE_VARIANCE * ops.matmul(weights[:, None], genres)[:, 0],
            _FACTOR_VARIANCE * ops.matmul(weights[:, None], factors)[:, 0],
        ]
        return ops.concatenate(parts, axis=1)

    def genre_direction(self, genres: Array, shares: Array) -> Array:
        """Return how a movie's genres differ from those of what is liked, as a unit vector; zeros without genres.

        Args:
          genres: `[..., genres]` float32 indicators.
          shares: `[genres]` float32: share of each genre among all likes.
        """
        ops = self._ops
        has_genres = ops.cast(ops.sum(genres, axis=-1, keepdims=True) > 0, "float32")
        return ops.normalize((genres - shares) * has_genres, axis=-1)

    def factor_direction(self, co_ratings: Array, residuals: Array) -> Array:
        """Return by what the same people like a movie, and rate it better than others do.

        Args:
          co_ratings: `[..., n]` float32 factors of who liked what, of any length.
          residuals: `[..., m]` float32 factors of what averages and biases leave of the ratings, none longer than 1.

        Returns:
          `[..., n + m]` float32: products of them have the covariance that `_FACTOR_VARIANCE` is the factor of.
        """
        ops = self._ops
        length = math.sqrt(_RESIDUAL_VARIANCE / _FACTOR_VARIANCE)
        return ops.concatenate([ops.normalize(co_ratings, axis=-1), residuals * length], axis=-1)

    def _limited(self, differences: Array) -> Array:
        """Return differences in stars of which none counts for more than `_MOST_DIFFERENT`."""
        return self._ops.tanh(differences / _MOST_DIFFERENT) * _MOST_DIFFERENT

    def pools(self, stars: Array) -> tuple[Array, Array]:
        """Return the weights by which the towers take means over a history, and how many movies each is over.

        Args:
          stars: `[batch, n]` float32 ratings in stars, the latest first; 0 where there is none.

        Returns:
          `[batch, 4, n]`: liked movies, more of the latest; liked movies; disliked ones; all, by their scaled ratings.
          And `[batch, 3]`: the numbers of liked, disliked and all movies.
        """
        ops = self._ops
        rated, liked, disliked = self._kinds(stars)
        groups = [liked * self._recency(rated), liked, disliked, rated]
        means = [group / ops.maximum(ops.sum(group, axis=1, keepdims=True), 1.0) for group in groups]
        means[-1] = means[-1] * f.to_label(stars)
        numbers = [ops.sum(group, axis=1) for group in (liked, disliked, rated)]
        return ops.stack(means, axis=1), ops.stack(numbers, axis=1)

    def weighted_sum(self, factors: Array, stars: Array) -> Array:
        """Sum up the factors of a history's movies: favourites and the latest count more, dislikes count against.

        It grows with the root of the number of movies, so that little is said of a user of whom little is known.

        Args:
          factors: `[batch, n, dim]` float32.
          stars: `[batch, n]` float32; see `pools`.

        Returns:
          `[batch, dim]` float32.
        """
        ops = self._ops
        rated, liked, disliked = self._kinds(stars)
        loved = ops.cast(stars >= _LOVED_RATING, "float32")
        weight = liked * (1 + _LOVED * loved) + _MIDDLING * (rated - liked - disliked) + _DISLIKED * disliked
        weight = weight * (_LASTING + self._recency(rated))
        total = ops.sum(ops.abs(weight), axis=1, keepdims=True)
        weight = weight / ops.sqrt(ops.maximum(total, 1e-6))
        return ops.matmul(weight[:, None], factors)[:, 0]

    def genre_affinity(self, genres: Array, stars: Array, shares: Array) -> Array:
        """Say which genres a user likes, or dislikes, throughout.

        The log odds of a genre among what the user liked, against those among all likes, less the same of what they
        disliked; each counts by the square of its share there. Who likes a bit of everything gets next to nothing, who
        has rated three documentaries and nothing else gets documentaries.

        Args:
          genres: `[batch, n, genres]` float32 indicators of a history's movies.
          stars: `[batch, n]` float32; see `pools`.
          shares: `[genres]` float32: share of each genre among all likes.

        Returns:
          `[batch, genres]` float32, in nats.
        """
        ops = self._ops
        _, liked, disliked = self._kinds(stars)
        common = ops.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE)

        def evidence(group: Array) -> Array:
            number = ops.sum(group, axis=1, keepdims=True)
            count = ops.matmul(group[:, None], genres)[:, 0]
            share = (count + _PRIOR_MOVIES * common) / (number + _PRIOR_MOVIES)
            return (self._log_odds(share) - self._log_odds(common)) * ops.square(count / (number + 1))

        # A movie without genres says nothing.
        named = ops.cast(ops.arange(self._domain.num_categories) > 0, "float32")
        return (evidence(liked) - evidence(disliked)) * named

    def _number(self, stars: Array) -> Array:
        ops = self._ops
        return ops.sum(ops.cast(stars > 0, "float32"), axis=1, keepdims=True)

    def _kinds(self, stars: Array) -> tuple[Array, ...]:
        """Return which places of a history are rated, liked and disliked, 1 or 0 each."""
        ops = self._ops
        least_liked = self._domain.scale.liked_stars
        rated = stars > 0
        disliked = ops.logical_and(stars <= DISLIKED_RATING, stars < least_liked)
        kinds = rated, stars >= least_liked, ops.logical_and(rated, disliked)
        return tuple(ops.cast(kind, "float32") for kind in kinds)

    def _recency(self, rated: Array) -> Array:
        ops = self._ops
        if not self._domain.timed:
            return rated  # Their order says nothing.
        return ops.exp((rated - ops.cumsum(rated, axis=1)) / _LATEST)

    def _log_odds(self, share: Array) -> Array:
        ops = self._ops
        return ops.log(share) - ops.log1p(-share)

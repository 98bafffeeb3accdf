"""What the user tower makes of its perceptrons' answers, in Keras or in NumPy: the formulas are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from schemas import features as f
from schemas.tastes import Array, Bias, Tastes

STARS_LENGTH = math.sqrt(f.RATING_HALF_RANGE)
"""The product of what both towers' rating perceptrons answer, times the square of this, is in stars."""
BIAS_LENGTH = 0.7
"""Splits the product of a user's bias and one between the two sides, so that neither vector gets too long."""
LEANING_LENGTH = 0.5
"""The same of what their ratings let expect and the movie's directions."""
_LEARNED_OF_NEW, _GENRES_OF_NEW = 2.0, 1.5
"""How many times as much what is learned, and the genres, count for somebody new as for whom is well known."""


def rating_inputs(ops: Any, statistics: Array, bias: Bias) -> Array:
    """Return what the rating perceptron reads, `[batch, n]`: the statistics but for the time, and the biases."""
    return ops.concatenate([statistics, bias.of_user, bias.log_number, bias.spread, bias.of_genres], axis=1)


def rating_vector(ops: Any, answer: Array, acquaintance: Array, of_user: Array, leaning: Array | None = None) -> Array:
    """Return a user's rating vector, `[batch, n + 4]`, with a leaning `[batch, n + 4 + genres + factors]`.

    Its product with a movie's is the movie's average, to which the movie's perceptron adds, the user's bias, and what
    both perceptrons make of this user and this movie: the more, the more ratings are known of the user. Where there is
    a leaning it takes the place of the bias, wholly of somebody new and by half of whom the perceptrons know well.

    Args:
      ops: `keras.ops`, or NumPy's functions of the same names.
      answer: `[batch, n]` of the rating perceptron.
      acquaintance: `[batch, 1]`; see `schemas.tastes.Tastes.acquaintance`.
      of_user: `[batch, 1]` the user's bias, in stars.
      leaning: What `schemas.tastes.Tastes.leaning` returns, where nothing is trained.
    """
    found = answer * acquaintance / STARS_LENGTH
    more = []
    if leaning is not None:
        share = 1 - acquaintance / 2
        of_user = of_user + share * (leaning[:, :1] - of_user)
        more.append(leaning[:, 1:] * share / (f.RATING_HALF_RANGE * LEANING_LENGTH))
    scaled = of_user / (f.RATING_HALF_RANGE * BIAS_LENGTH)
    return unit(ops, ops.concatenate([ops.ones_like(scaled), scaled, found, *more], axis=1), (0, 1))


def unit(ops: Any, values: Array, end: tuple[int, int]) -> Array:
    """Fill vectors up to the length of 1, in places of which the other side's are zero; longer ones are shortened.

    Args:
      ops: `keras.ops`, or NumPy's functions of the same names.
      values: `[batch, n]`, of a length of up to the root of `RATING_REACH`.
      end: (0, 1) for one side, (1, 0) for the other: what is behind the values is the filling, or zero.
    """
    rest = ops.maximum(f.RATING_REACH - ops.sum(ops.square(values), axis=1, keepdims=True), 0.0)
    filling = [ops.sqrt(rest) * side for side in end]
    return ops.normalize(ops.concatenate([values, *filling], axis=1), axis=1)


def ranking_parts(tastes: Tastes, learned: Array, taste: Array, affinity: Array, stars: Array) -> list[Array]:
    """Return what a user's embedding joins, `[batch, n]` each: the learned part, and the others unweighted.

    Beside the co-ratings, from which a few movies tell little, what is learned counts for more the less is known of a
    user who likes what they rate, and so do the genres. Of one who dislikes it they count for less: it is co-ratings
    that push away from a dislike. Popularity has two parts: of whom much is known, and of somebody new.

    Args:
      tastes: The formulas.
      learned: `[batch, n]` the learned embedding, divided by the temperature.
      taste: `[batch, n]` the factors of what the user liked and disliked.
      affinity: `[batch, genres]` what they like or dislike throughout; see `schemas.tastes.Tastes.genre_affinity`.
      stars: `[batch, n]` float32; see `schemas.tastes.Tastes.pools`.
    """
    known = tastes.known(stars)
    more = (1 - known) * tastes.fondness(stars)
    learned = learned * (1 + (_LEARNED_OF_NEW - 1) * more)
    genres = affinity * math.sqrt(affinity.shape[1]) * (1 + (_GENRES_OF_NEW - 1) * more)
    return [learned, taste, genres, known**3, tastes.newness(stars, affinity)]


def joined(ops: Any, parts: Sequence[Array], weights: Array) -> Array:
    """Return a user's embedding, `[batch, joined_dim]`: what `ranking_parts` returns, all but the first by weights."""
    # What fills the movies up to the same length must not count.
    return ops.normalize(ops.pad(weighted(ops, parts, weights), ((0, 0), (0, 1))), axis=1)


def weighted(ops: Any, parts: Sequence[Array], weights: Array) -> Array:
    """Return a user's embedding before it is normalised, `[batch, joined_dim - 1]`, without the filling's zero."""
    learned, *others = parts
    taste, genres, popularity, popularity_of_new = (values * weights[place] for place, values in enumerate(others))
    return ops.concatenate([learned, taste, genres, popularity + popularity_of_new], axis=1)

"""Which movies the same people rate better, or worse, than averages and biases say: factors of what those leave."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from components.factors import largest_singular_vectors, padded
from components.trainer.histories import HistoryTable
from components.trainer.movie_averages import MovieAverages

DIM = 8
"""Twice as many or half of them predict new users' stars no better (docs/quality.md)."""
_POWER, _PSEUDO_RATINGS = 0.25, 10
"""A user's row and a movie's column are divided by their number of ratings, and ten more, to this power."""
_SURE_RATINGS = 20
"""Ratings of a movie with which half of its factors' square is believed."""
_NOTHING = 1e-6
"""What is shorter than this part of the longest is rounding."""


def fit(table: HistoryTable, averages: MovieAverages) -> np.ndarray:
    """Decompose what remains of all ratings.

    Args:
      table: The ratings.
      averages: Of the same.

    Returns:
      `[vocabulary + 1, DIM]` float32, none longer than 1, and of length 1 for a movie with many ratings; zeros for the
      unknown movie, which is the first.
    """
    of_users, of_movies, users = np.diff(table.offsets), averages.count, table.users_of_ratings
    rest = table.stars - averages.of_movies[table.movies] - averages.user_bias[users]
    rows, columns = ((count + _PSEUDO_RATINGS) ** -_POWER for count in (of_users, of_movies))
    rest *= rows[users] * columns[table.movies] * (table.movies > 0)
    matrix = sparse.csr_matrix((rest, table.movies, table.offsets), (len(of_users), len(of_movies)))
    values, right = largest_singular_vectors(matrix, DIM)
    factors = right * values
    length = np.linalg.norm(factors, axis=1, keepdims=True)
    length = np.maximum(length, _NOTHING * length.max() + 1e-12)
    factors *= np.sqrt(of_movies / (of_movies + _SURE_RATINGS))[:, None] / length
    factors[0] = 0
    return padded(factors, DIM)

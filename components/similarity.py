"""Vectors in which similar movies lie close together: who liked them, their genres, and the words of their titles."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import numpy as np
import polars as pl
from scipy import sparse

from components.factors import largest_singular_vectors, rounded
from schemas import features as f
from schemas.histories import Histories
from schemas.ingest import TITLE
from schemas.vectors import column_array

_DIM = 48
"""Factors of co-ratings, and length of a title's vector."""
_UNLIKED = 0.3
"""What a rating below a like says of who watches a movie, of one."""
_USER_POWER, _MOVIE_POWER = 0.25, 0.5
"""Users' rows and movies' columns are divided by their sums to these powers: half of a movie's fame is taken out."""
_CO_RATINGS, _GENRES, _TITLE = 0.8, 0.4, 0.45
"""Lengths of the three parts."""
_FEW_RATINGS = 10.0
"""With so many ratings the part of the co-ratings is shortened to the root of a half."""
_NEXT_WORD = 0.7
"""How much each word of a title counts, of what the one before it does: series share how they begin."""
_YEAR = re.compile(r"\(\d{4}\)\s*$")
_WORD = re.compile(r"[^\W\d_]{3,}")
_PARTS_OF_SERIES = {"the", "and", "part", "episode", "vol", "volume", "chapter", "iii", "vii", "viii"}
"""Words that tell parts of a series apart, or nothing."""


def similarity_vectors(movies: pl.DataFrame, histories: Histories) -> np.ndarray:
    """Return a unit vector a movie; the cosine of two is how similar they are.

    Args:
      movies: The catalogue: title, genres.
      histories: All ratings, their movies by position in the catalogue.

    Returns:
      `[movies, 2 * 48 + genres]` float32, L2-normalised.
    """
    count, co_ratings = _co_ratings(histories, movies.height)
    known = np.sqrt(count / (count + _FEW_RATINGS))[:, None]
    genres = column_array(movies[f.MOVIE_GENRES])
    rarity = 1 / np.sqrt(np.maximum(genres.mean(axis=0), 1e-3))
    parts = [
        _CO_RATINGS * known * _unit(co_ratings),
        _GENRES * _unit(genres * rarity),
        _TITLE * _unit(_titles(movies[TITLE].to_list())),
    ]
    joined = rounded(np.concatenate(parts, axis=1)).astype(np.float64)
    joined[:, -1] += 1e-6  # A movie of which nothing is known has a direction, too.
    return _unit(joined).astype(np.float32)


def _co_ratings(histories: Histories, movies: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted number of ratings of each movie, and its factors, the commonest of which is left out."""
    ratings, offsets = histories.ratings[:], histories.offsets
    weights = np.where(ratings["step"] >= histories.scale.liked_step, 1.0, _UNLIKED)
    matrix = sparse.csr_matrix((weights, ratings["movie"], offsets), (len(offsets) - 1, movies))
    by_user, by_movie = (np.asarray(matrix.sum(axis)).ravel() for axis in (1, 0))
    matrix.data *= np.repeat(np.maximum(by_user, 1e-9) ** -_USER_POWER, np.diff(offsets))
    matrix.data *= (np.maximum(by_movie, _UNLIKED) ** -_MOVIE_POWER)[matrix.indices]
    values, vectors = largest_singular_vectors(matrix, _DIM + 1)
    # The first one is fame.
    factors = (vectors * np.sqrt(values))[:, 1:]
    return by_movie, np.pad(factors, ((0, 0), (0, _DIM - factors.shape[1])))


def _titles(titles: list[str]) -> np.ndarray:
    """Return a random projection of the titles' words, the rarer the more: `[movies, 48]`."""
    found = [[w for w in _WORD.findall(_YEAR.sub("", t).lower()) if w not in _PARTS_OF_SERIES] for t in titles]
    number = Counter(word for words in found for word in set(words))
    directions = {word: _direction(word) * np.log(len(titles) / count) for word, count in number.items()}
    vectors = np.zeros((len(titles), _DIM))
    for row, words in enumerate(found):
        for place, word in enumerate(words):
            vectors[row] += _NEXT_WORD**place * directions[word]
    return vectors


def _direction(word: str) -> np.ndarray:
    """Return a word's direction, the same wherever it is computed: signs from its digest."""
    digest = hashlib.sha256(word.encode()).digest()[: _DIM // 8]
    return np.unpackbits(np.frombuffer(digest, np.uint8)) * 2.0 - 1.0


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

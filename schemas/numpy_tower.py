"""The user tower in NumPy: what a version needs to embed users where TensorFlow is not installed, or not waited for."""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from schemas import features as f
from schemas.domain import Domain
from schemas.tastes import NUMBERS, POOLS, Tastes
from schemas.user_features import Features
from schemas.user_vectors import joined, ranking_parts, rating_inputs, rating_vector
from schemas.vectors import Vectors

_BATCH = 128
"""Users at once: the factors of their histories fit into a processor's cache."""
STANDARDISED = tuple(name for name in f.USER_INPUTS if name in f.STANDARDISED)
"""What the perceptrons read of a user's statistics, in their order; behind it, of one of them, the time."""
_LATEST = slice(f.HISTORY_LENGTH + 1)
"""Of a history, what training shows the perceptrons."""
_POINTS_IN_TIME = np.linspace(-f.TIME_REACH, f.TIME_REACH, f.TIME_POINTS, dtype=np.float32)


class _NumPy:
    """NumPy's functions, and those of `keras.ops` that it lacks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def cast(values: np.ndarray, dtype: str) -> np.ndarray:
        return np.asarray(values).astype(dtype)

    @staticmethod
    def solve(matrices: np.ndarray, columns: np.ndarray) -> np.ndarray:
        solved: np.ndarray = np.linalg.solve(matrices, columns)
        return solved

    @staticmethod
    def normalize(values: np.ndarray, axis: int) -> np.ndarray:
        normal: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=axis, keepdims=True), 1e-12)
        return normal


OPS = _NumPy()


@dataclasses.dataclass(frozen=True)
class Perceptron:
    """A multilayer perceptron: rectified linear layers, and a linear one at the end."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Kernel `[in, out]` and bias `[out]` of each layer, float32."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Answer `[batch, in]` with `[batch, out]`."""
        *hidden, (kernel, bias) = self.layers
        for inner, offset in hidden:
            values = np.maximum(values @ inner + offset, 0.0)
        return values @ kernel + bias


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """What only a tower with an embedding beside its rating vector has; movies by their place in the vocabulary."""

    factors: np.ndarray
    """`[movies + 1, co_rating_dim]` float32."""
    residuals: np.ndarray
    """`[movies + 1, n]` float32, factors of what averages and biases leave of the ratings, none longer than 1."""
    ids: np.ndarray
    """`[movies + 1, id_dim]` float32; no columns without embeddings of ids."""
    longest: np.ndarray
    """`[]` float32, what the factors of the movies were divided by."""
    genre_shares: np.ndarray
    """`[genres]` float32 among all likes."""
    blend: np.ndarray
    """`[4]` float32, the weights of the parts behind the learned one."""
    temperature: np.ndarray
    """`[]` float32."""
    perceptron: Perceptron


@dataclasses.dataclass(frozen=True)
class NumpyTower:
    """A trained user tower, of which each answer is that of the SavedModel within 1e-6, but for rounded features.

    It takes less than a millisecond for a user, and starts at once.
    """

    movie_ids: np.ndarray
    """`[movies]` int64, the vocabulary: the movie at place `i` is number `i + 1` in the tables, and 0 is any other."""
    means: np.ndarray
    """`[n]` float64, of `STANDARDISED` and the timestamp."""
    deviations: np.ndarray
    """`[n]` float64, likewise."""
    averages: np.ndarray
    """`[movies + 1]` float32, in stars."""
    genres: np.ndarray
    """`[movies + 1, genres]` float32 indicators."""
    user_variance: np.ndarray
    """`[]` float32, of how users differ throughout from the movies' averages, in squares of stars."""
    perceptron: Perceptron
    """The rating perceptron."""
    domain: Domain
    retrieval: Retrieval | None = None
    """None where the rating vector is the embedding, too."""

    @functools.cached_property
    def _tastes(self) -> Tastes:
        return Tastes(OPS, self.domain)

    @functools.cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """The vocabulary in order, and the numbers of its movies; behind them, what is none."""
        order = np.argsort(self.movie_ids)
        return np.append(self.movie_ids[order], -1), np.append(order + 1, 0)

    def embed(self, features: Features, scores: np.ndarray | None = None) -> Vectors:
        """Embed users.

        Args:
          features: What the user tower takes.
          scores: What `standardised` returns of the same, where it is there already.

        Returns:
          `[users, dim]` each.
        """
        users = len(features[f.TIMESTAMP])
        scores = self.standardised(features) if scores is None else scores
        batches = [
            self._embed({name: values[part] for name, values in features.items()}, scores[part])
            for part in (slice(begin, begin + _BATCH) for begin in range(0, max(users, 1), _BATCH))
        ]
        return batches[0] if len(batches) == 1 else Vectors.concatenate(batches)

    def z_scores(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """Say how unusual users are: of each standardised feature the mean over its columns.

        Args:
          scores: What `standardised` returns.

        Returns:
          `[users]` each, in standard deviations from the mean of the train ratings.
        """
        end, found = 0, {}
        for name, width in f.lengths(STANDARDISED, self.domain.num_categories).items():
            found[name] = scores[:, end : end + width].mean(axis=1)
            end += width
        return found

    def _embed(self, features: Features, standardised: np.ndarray) -> Vectors:
        given = features[f.USER_HISTORY_RATINGS]
        longest = int(np.flatnonzero(given.any(axis=0)).max(initial=0)) + 1  # Behind it there is padding alone.
        ratings = given[:, :longest]
        tokens = self._tokens(features[f.USER_HISTORY_MOVIES][:, :longest])
        vector = self._rating_vector(standardised[:, : -f.TIME_POINTS], tokens[:, _LATEST], ratings[:, _LATEST])
        if self.retrieval is None:
            return Vectors(vector, vector)
        return Vectors(self._embedding(self.retrieval, standardised, tokens, ratings), vector)

    def _rating_vector(self, statistics: np.ndarray, tokens: np.ndarray, stars: np.ndarray) -> np.ndarray:
        averages, genres = self.averages[tokens], self.genres[tokens]
        bias = self._tastes.bias(stars, averages, genres, self.user_variance)
        answer, leaning = self.perceptron(rating_inputs(OPS, statistics, bias)), None
        if self.retrieval is not None:
            of_genres = self._tastes.genre_direction(genres, self.retrieval.genre_shares)
            of_factors = self._tastes.factor_direction(self.retrieval.factors[tokens], self.retrieval.residuals[tokens])
            leaning = self._tastes.leaning(stars, averages, of_genres, of_factors, self.user_variance)
        acquaintance = self._tastes.acquaintance(stars)
        vector: np.ndarray = rating_vector(OPS, answer, acquaintance, bias.of_user, leaning)
        return vector.astype(np.float32, copy=False)

    def _embedding(
        self, of: Retrieval, standardised: np.ndarray, tokens: np.ndarray, ratings: np.ndarray
    ) -> np.ndarray:
        batch = len(tokens)
        weights, numbers = self._tastes.pools(ratings[:, _LATEST])
        factors = of.factors[tokens]
        pooled = (weights @ factors[:, _LATEST]).reshape(batch, -1) * math.sqrt(of.factors.shape[1])
        pooled_ids = (weights @ of.ids[tokens[:, _LATEST]]).reshape(batch, -1)
        read = np.concatenate([standardised, np.log1p(numbers), pooled, pooled_ids], axis=1, dtype=np.float32)
        learned = OPS.normalize(of.perceptron(read), axis=1) / of.temperature
        stars = np.where(tokens > 0, ratings, np.float32(0))
        taste = self._tastes.weighted_sum(factors, stars) * of.longest
        affinity = self._tastes.genre_affinity(self.genres[tokens], stars, of.genre_shares)
        parts = ranking_parts(self._tastes, learned, taste, affinity, stars)
        embedding: np.ndarray = joined(OPS, parts, of.blend)
        return embedding.astype(np.float32, copy=False)

    def _tokens(self, movie_ids: np.ndarray) -> np.ndarray:
        """Return the places of movies in the tables, 0 for those that have none."""
        known, numbers = self._places
        places = np.searchsorted(known[:-1], movie_ids)
        return np.where(known[places] == movie_ids, numbers[places], 0)

    def standardised(self, features: Features) -> np.ndarray:
        """Return what both perceptrons read of a user's statistics, `[batch, n]` float32, the time last."""
        rating, count = (features[name].astype(np.float64) for name in (f.USER_GENRE_RATING, f.USER_GENRE_COUNT))
        total = count.sum(axis=1, keepdims=True)
        counted = np.maximum(total, 1)
        mean = (rating * count).sum(axis=1, keepdims=True) / counted
        mean = np.where(total > 0, mean, rating.mean(axis=1, keepdims=True))
        values = {
            f.USER_GENRE_RATING: rating,
            f.USER_GENRE_COUNT: np.log1p(count),
            f.USER_GENRE_SHARE: count / counted,
            f.USER_GENRE_PREFERENCE: rating - mean,
            f.USER_ACTIVITY: np.log1p(total),
            f.USER_AVERAGE_RATING: mean,
        }
        columns = [*(values[name] for name in STANDARDISED), features[f.TIMESTAMP]]
        given = np.concatenate(columns, axis=1, dtype=np.float64)
        steps = f.SCORE_STEPS / np.where(self.deviations > 0, self.deviations, 1.0)
        scores = (np.round((given - self.means) * steps) / f.SCORE_STEPS).astype(np.float32)
        return np.concatenate([scores[:, :-1], _weights_of_points(scores[:, -1:])], axis=1)


def _weights_of_points(time: np.ndarray) -> np.ndarray:
    inside = np.clip(time, _POINTS_IN_TIME[0], _POINTS_IN_TIME[-1])
    step = _POINTS_IN_TIME[1] - _POINTS_IN_TIME[0]
    weights: np.ndarray = np.maximum(1 - np.abs(inside - _POINTS_IN_TIME) / step, 0)
    return weights


def dump(tower: NumpyTower) -> bytes:
    """Return a tower's weights as an archive of NumPy's; the domain is not among them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, values in arrays_of(tower).items():
            # `np.savez` would note the time: the same tower gives the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)
    return buffer.getvalue()


def load(blob: bytes, domain: Domain) -> NumpyTower:
    """Read what `dump` has written.

    Raises:
      ValueError: It is damaged, something is missing, or what is there does not fit together.
    """
    try:
        with np.load(io.BytesIO(blob)) as archive:
            arrays = {name: archive[name] for name in archive.files}
        tower = of_arrays(arrays, domain)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ValueError(f"the user tower's weights are no archive: {error}") from error
    except KeyError as error:
        raise ValueError(f"the user tower's weights lack {error}") from error
    for problem in _problems(tower):
        raise ValueError(f"the user tower's weights do not fit: {problem}")
    return tower


_RATING, _EMBEDDING = "rating_perceptron", "embedding_perceptron"
_TABLES = ("movie_ids", "means", "deviations", "averages", "genres", "user_variance")
_RETRIEVAL_TABLES = ("factors", "residuals", "ids", "longest", "genre_shares", "blend", "temperature")


def _layers(name: str, perceptron: Perceptron) -> dict[str, np.ndarray]:
    return {
        f"{name}_{place}_{kind}": values
        for place, layer in enumerate(perceptron.layers)
        for kind, values in zip(("kernel", "bias"), layer, strict=True)
    }


def arrays_of(tower: NumpyTower) -> dict[str, np.ndarray]:
    """Return a tower's weights by their names."""
    arrays = {name: getattr(tower, name) for name in _TABLES} | _layers(_RATING, tower.perceptron)
    if tower.retrieval is not None:
        arrays |= {name: getattr(tower.retrieval, name) for name in _RETRIEVAL_TABLES}
        arrays |= _layers(_EMBEDDING, tower.retrieval.perceptron)
    return arrays


def of_arrays(arrays: Mapping[str, np.ndarray], domain: Domain) -> NumpyTower:
    """Make a tower of its weights again; whether they fit together is not looked at.

    Raises:
      KeyError: One is missing.
    """

    def perceptron(name: str) -> Perceptron:
        number = sum(key.startswith(f"{name}_") and key.endswith("_kernel") for key in arrays)
        pairs = [(arrays[f"{name}_{place}_kernel"], arrays[f"{name}_{place}_bias"]) for place in range(number)]
        return Perceptron(tuple(pairs))

    retrieval = None
    if "factors" in arrays:
        retrieval = Retrieval(**{name: arrays[name] for name in _RETRIEVAL_TABLES}, perceptron=perceptron(_EMBEDDING))
    tables = {name: arrays[name] for name in _TABLES}
    return NumpyTower(**tables, perceptron=perceptron(_RATING), domain=domain, retrieval=retrieval)


def _problems(tower: NumpyTower) -> Iterator[str]:
    """Yield what is wrong with shapes and numbers."""
    genres = tower.domain.num_categories
    rows, width = len(tower.movie_ids) + 1, sum(f.lengths(STANDARDISED, genres).values())
    shapes = {
        "means": (tower.means, (width + 1,)),
        "deviations": (tower.deviations, (width + 1,)),
        "averages": (tower.averages, (rows,)),
        "genres": (tower.genres, (rows, genres)),
        "user_variance": (tower.user_variance, ()),
    }
    perceptrons = {_RATING: (tower.perceptron, width + 3 + genres)}
    if of := tower.retrieval:
        tables = of.factors, of.residuals, of.ids
        factors, residuals, ids = (values.shape[-1] if values.ndim else 0 for values in tables)
        shapes |= {
            "factors": (of.factors, (rows, factors)),
            "residuals": (of.residuals, (rows, residuals)),
            "ids": (of.ids, (rows, ids)),
            "longest": (of.longest, ()),
            "genre_shares": (of.genre_shares, (genres,)),
            "blend": (of.blend, (4,)),
            "temperature": (of.temperature, ()),
        }
        perceptrons[_EMBEDDING] = (of.perceptron, width + f.TIME_POINTS + NUMBERS + POOLS * (factors + ids))
    for name, (values, shape) in shapes.items():
        if values.shape != shape:
            yield f"{name} are {values.shape}, expected {shape}"
        elif not np.isfinite(values).all():
            yield f"{name} are not finite"
    if not tower.user_variance > 0:
        yield f"user_variance is {tower.user_variance}, expected more than 0"
    if tower.movie_ids.ndim != 1 or tower.movie_ids.dtype != np.int64:
        yield "movie_ids are no list of int64"
    for name, (perceptron, read) in perceptrons.items():
        if not perceptron.layers:
            yield f"{name} has no layers"
        for kernel, bias in perceptron.layers:
            if kernel.ndim != 2 or kernel.shape[0] != read or bias.shape != kernel.shape[1:]:
                yield f"a layer of {name} is {kernel.shape} and {bias.shape}, and reads {read}"
                return
            if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
                yield f"{name} is not finite"
            read = kernel.shape[1]

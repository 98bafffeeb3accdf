"""Whether an index makes sense: digests prove that nothing changed since it was written, not that it is right."""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Iterable, Iterator

import faiss
import numpy as np
import polars as pl

from schemas import features as f
from schemas import manifest as m
from schemas.domain import Domain
from schemas.histories import RATINGS_DTYPE, USERS_DTYPE, Histories
from schemas.ids import numbers_of
from schemas.ingest import GENRE_NAMES, LINKS, LINKS_TYPE, MOVIE_KEY, TITLE, YEAR
from schemas.vectors import Vectors

_COUNTS = {"movies", "users", "ratings"}
_UNIT_TOLERANCE = 1e-3
_ROWS_AT_ONCE = 1 << 18


def check_names(names: Iterable[str]) -> None:
    """Check that the files which a manifest names lie below its directory.

    Raises:
      ValueError: A name leads out of it.
    """
    for name in names:
        parts = pathlib.PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name or "://" in name:
            raise ValueError(f"the manifest names {name!r}, which is not below the version's directory")


def check_tree(directory: str) -> None:
    """Check that a local directory holds nothing but directories and regular files, whatever their depth.

    Raises:
      ValueError: Something in it is a link, a pipe or a device.
    """
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            mode = os.lstat(path := f"{folder}/{name}").st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise ValueError(f"{path} is no regular file. Publish the version again")


def are_unit(vectors: np.ndarray) -> bool:
    """Whether `[n, dim]` vectors are finite and of length 1, within 0.001."""
    return bool((np.abs(np.linalg.norm(vectors, axis=1) - 1) <= _UNIT_TOLERANCE).all())


def problems(
    manifest: m.Manifest,
    vectors: Vectors,
    similarity: np.ndarray,
    movies: pl.DataFrame,
    histories: Histories,
    index: faiss.Index | None,
    user_keys: pl.Series | None = None,
) -> Iterator[str]:
    """Yield what does not fit of what was loaded: shapes, types, ranges and orders."""
    if missing := _COUNTS - manifest.counts.keys():
        yield f"the manifest has no count of {min(missing)}"
    counts = {"movies": movies.height, "users": len(histories.users), "ratings": len(histories.ratings)}
    yield from (
        f"the manifest counts {manifest.counts[name]} {name}, there are {counts[name]}"
        for name in sorted(_COUNTS)
        if manifest.counts[name] != counts[name]
    )
    yield from _problems_of_catalogue(movies, manifest.domain)
    for name, values, dim in (
        ("embeddings", vectors.embeddings, manifest.dim),
        ("rating vectors", vectors.rating_vectors, manifest.rating_dim),
        ("similarity vectors", similarity, manifest.similarity_dim),
    ):
        shape = movies.height, dim
        if values.shape != shape or values.dtype != np.float32:
            yield f"the {name} are {values.shape} {values.dtype}, expected {shape} float32"
        if not are_unit(values):
            yield f"the {name} are no unit vectors"
    if len(manifest.probe) != manifest.dim or not np.isfinite(manifest.probe).all():
        yield f"the probe has {len(manifest.probe)} numbers, expected {manifest.dim} finite ones"
    domain = manifest.domain
    if len(manifest.genre_means) != domain.num_categories:
        yield f"there are {len(manifest.genre_means)} means of categories, expected {domain.num_categories}"
    if not all(f.RATING_MIN <= mean <= f.RATING_MAX for mean in (manifest.global_mean, *manifest.genre_means)):
        yield f"a mean is outside of {f.RATING_MIN:g} to {f.RATING_MAX:g}"
    if not 0 <= manifest.pseudo_ratings < np.inf or manifest.latest_s < 0:
        yield "the weight of the prior mean or the latest time is below 0"
    if index is not None and (index.ntotal, index.d) != (movies.height, manifest.dim):
        yield f"the FAISS index holds {(index.ntotal, index.d)}, expected {(movies.height, manifest.dim)}"
    yield from _problems_of_histories(histories, movies.height)
    if user_keys is not None and (user_keys.dtype != pl.String or user_keys.null_count()):
        yield "the users' keys are no text"
    for name, keys, ids in (
        ("users", user_keys, histories.users["user_id"]),
        ("movies", movies[MOVIE_KEY] if domain.text_item_ids else None, movies[f.MOVIE_ID].to_numpy()),
    ):
        if keys is not None and not np.array_equal(numbers_of(keys).to_numpy(), ids):
            yield f"the keys of the {name} are not those of their numbers"


def _columns(domain: Domain) -> dict[str, pl.DataType | type[pl.DataType]]:
    scalars = {feature.name for feature in f.FEATURES if feature.length == 1}
    return {
        f.MOVIE_ID: pl.Int64,
        **({MOVIE_KEY: pl.String} if domain.text_item_ids else {}),
        TITLE: pl.String,
        GENRE_NAMES: pl.List(pl.String),
        YEAR: pl.Int32,
        **{name: pl.Float32 if name in scalars else pl.List(pl.Float32) for name in f.MOVIE_FEATURES},
    }


def _problems_of_catalogue(movies: pl.DataFrame, domain: Domain) -> Iterator[str]:
    if not movies.height:
        yield "the catalogue is empty"
    for name, dtype in _columns(domain).items():
        if name not in movies.columns:
            yield f"the catalogue has no column {name}"
        elif movies[name].dtype != dtype:
            yield f"the catalogue's {name} is {movies[name].dtype}, expected {dtype}"
        elif name != YEAR and movies[name].null_count():
            yield f"the catalogue has movies without {name}"
    if LINKS in movies.columns:
        urls = movies[LINKS].explode().struct.field("url").drop_nulls() if movies[LINKS].dtype == LINKS_TYPE else None
        if urls is None or not urls.str.contains("^https?://").all():
            yield "the catalogue's links are no addresses in the web"
    if not (movies[f.MOVIE_ID].diff().drop_nulls() > 0).all():
        yield "the movies' ids are not ascending"
    for name, length in f.lengths(f.MOVIE_FEATURES, domain.num_categories).items():
        values = movies[name]
        if values.dtype == pl.List:
            if not (values.list.len() == length).all():
                yield f"the catalogue's {name} has not {length} numbers a movie"
            values = values.explode()
        if not values.is_finite().all():
            yield f"the catalogue's {name} is not finite"


def _problems_of_histories(histories: Histories, movies: int) -> Iterator[str]:
    users, ratings = histories.users, histories.ratings
    if users.dtype != USERS_DTYPE or ratings.dtype != RATINGS_DTYPE:
        yield f"the histories are {users.dtype} and {ratings.dtype}, expected {USERS_DTYPE} and {RATINGS_DTYPE}"
        return
    ends = np.append(0, users["end"])
    if not (np.diff(users["user_id"]) > 0).all() or not (np.diff(ends) > 0).all() or ends[-1] != len(ratings):
        yield "the histories' users are not in order, or their ratings are not all of them"
    for begin in range(0, len(ratings), _ROWS_AT_ONCE):
        part = ratings[begin : begin + _ROWS_AT_ONCE]
        if not 0 <= part["movie"].min() <= part["movie"].max() < movies:
            yield f"the histories rate movies outside of the catalogue of {movies:,}"
        if not 1 <= part["step"].min() <= part["step"].max() <= histories.scale.steps:
            yield f"the histories have ratings outside of {histories.scale}"

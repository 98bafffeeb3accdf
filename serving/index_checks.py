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
from schemas.histories import RATINGS_DTYPE, USERS_DTYPE, Histories
from schemas.ingest import GENRE_NAMES, TITLE, YEAR
from schemas.vectors import Vectors

_COLUMNS = {f.MOVIE_ID, TITLE, GENRE_NAMES, YEAR, *f.MOVIE_FEATURES}
_COUNTS = {"movies", "users", "ratings"}
_UNIT_TOLERANCE = 1e-3
_ROWS_AT_ONCE = 1 << 18


def check_names(names: Iterable[str], directory: str | None) -> None:
    """Check that files of a version are regular ones below its directory.

    Args:
      names: Names in the manifest.
      directory: The version's local directory; None behind a URI, where there are objects alone.

    Raises:
      ValueError: A name leads out of the directory, or to a link, a pipe or a device.
    """
    for name in names:
        parts = pathlib.PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name or "://" in name:
            raise ValueError(f"the manifest names {name!r}, which is not below the version's directory")
        path = directory
        for i, part in enumerate(parts if path is not None else ()):
            path = f"{path}/{part}"
            if not os.path.lexists(path):
                break  # Told by who opens it.
            is_expected = stat.S_ISREG if i == len(parts) - 1 else stat.S_ISDIR
            if not is_expected(os.lstat(path).st_mode):
                raise ValueError(f"{name!r} is no regular file")


def check_tree(directory: str) -> None:
    """Check that a local directory holds nothing but directories and regular files, whatever their depth.

    Raises:
      ValueError: Something in it is a link, a pipe or a device.
    """
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            mode = os.lstat(path := f"{folder}/{name}").st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise ValueError(f"{path} is neither a file nor a directory. Publish the version again")


def are_unit(vectors: np.ndarray) -> bool:
    """Whether `[n, dim]` vectors are finite and of length 1, within 0.001."""
    return bool((np.abs(np.linalg.norm(vectors, axis=1) - 1) <= _UNIT_TOLERANCE).all())


def check_sense(
    manifest: m.Manifest, vectors: Vectors, movies: pl.DataFrame, histories: Histories, index: faiss.Index | None
) -> None:
    """Check shapes, types, ranges and orders of what was loaded.

    Raises:
      ValueError: Something does not fit; the message names it.
    """
    problem = next(_problems(manifest, vectors, movies, histories, index), None)
    if problem:
        raise ValueError(problem)


def _problems(
    manifest: m.Manifest, vectors: Vectors, movies: pl.DataFrame, histories: Histories, index: faiss.Index | None
) -> Iterator[str]:
    if missing := _COUNTS - manifest.counts.keys():
        yield f"the manifest has no count of {min(missing)}"
    if missing := _COLUMNS - set(movies.columns):
        yield f"the catalogue has no column {min(missing)}"
    counts = {"movies": movies.height, "users": len(histories.users), "ratings": len(histories.ratings)}
    yield from (
        f"the manifest counts {manifest.counts[name]} {name}, there are {counts[name]}"
        for name in sorted(_COUNTS)
        if manifest.counts[name] != counts[name]
    )
    if not movies.height:
        yield "the catalogue is empty"
    ids = movies[f.MOVIE_ID]
    if ids.dtype != pl.Int64 or ids.null_count() or not (ids.diff().drop_nulls() > 0).all():
        yield "the movies' ids are not ascending 64-bit integers"
    shape = movies.height, manifest.dim
    for name, values in (("embeddings", vectors.embeddings), ("rating vectors", vectors.rating_vectors)):
        if values.shape != shape or values.dtype != np.float32:
            yield f"the {name} are {values.shape} {values.dtype}, expected {shape} float32"
        if not are_unit(values):
            yield f"the {name} are no unit vectors"
    if len(manifest.probe) != manifest.dim or not np.isfinite(manifest.probe).all():
        yield f"the probe has {len(manifest.probe)} numbers, expected {manifest.dim} finite ones"
    if len(manifest.genre_means) != f.NUM_GENRES:
        yield f"there are {len(manifest.genre_means)} means of genres, expected {f.NUM_GENRES}"
    if index is not None and (index.ntotal, index.d) != shape:
        yield f"the FAISS index holds {(index.ntotal, index.d)}, expected {shape}"
    yield from _problems_of_histories(histories, movies.height)


def _problems_of_histories(histories: Histories, movies: int) -> Iterator[str]:
    users, ratings = histories.users, histories.ratings
    if users.dtype != USERS_DTYPE or ratings.dtype != RATINGS_DTYPE:
        yield f"the histories are {users.dtype} and {ratings.dtype}, expected {USERS_DTYPE} and {RATINGS_DTYPE}"
        return
    ends = np.append(0, users["end"])
    if not (np.diff(users["user_id"]) > 0).all() or not (np.diff(ends) > 0).all() or ends[-1] != len(ratings):
        yield "the histories' users are not in order, or their ratings are not all of them"
    steps = f.RATING_MAX / f.RATING_STEP
    for begin in range(0, len(ratings), _ROWS_AT_ONCE):
        part = ratings[begin : begin + _ROWS_AT_ONCE]
        if not 0 <= part["movie"].min() <= part["movie"].max() < movies:
            yield f"the histories rate movies outside of the catalogue of {movies:,}"
        if not 1 <= part["half_stars"].min() <= part["half_stars"].max() <= steps:
            yield f"the histories have ratings outside of {f.RATING_SCALE}"

"""What can be known early is said early: from the options, and from ExampleGen's first pass over the data."""

from __future__ import annotations

import json
import pathlib
import re
import tempfile
from typing import Any

import faiss
import numpy as np
import polars as pl

from components.polars_example_gen import checks, inspection, source
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.links import add_links
from pipeline.config import RunConfig
from schemas import features as f
from schemas import keys
from schemas.ingest import HISTORIES_PREFIX, SPAN, USER_KEY, USERS_PREFIX
from serving.index import EXACT, build_faiss

_SOME_CATEGORIES = 20
_SMALL_BYTES, _SMALL_PACKED_BYTES = 64 << 20, 16 << 20
_LEAST_MOVIES, _LEAST_RATINGS = 2, 2
_MOST_TRAINED = 50_000
"""Movies up to which an index is tried on random vectors; what trains on these trains on more."""


def check_options(config: RunConfig, output: str) -> None:
    """Raise ValueError if options cannot work on any data."""
    path = str(pathlib.Path(output).absolute())
    if patterns := sorted(set(path) & set("[]*?")):
        raise ValueError(
            f"TFX takes {' '.join(patterns)} in {path} for a pattern of files and finds none; choose another --output"
        )
    factory = config.pusher.index_factory
    if factory != EXACT:
        _factory_error(factory, lambda: faiss.index_factory(config.trainer.joined_dim(_SOME_CATEGORIES), factory))


def check_input(config: RunConfig, data: str, user_id: str | None) -> None:
    """Read a small data set on this machine before anything is loaded that takes long.

    A larger one, or one behind a URI, is read by ExampleGen, which says the same.

    Args:
      config: Configuration of the run.
      data: Directory or archive.
      user_id: The user of the summary, if one is asked for.

    Raises:
      ValueError: The data is not there, is bad, too small, too small for an option, or lacks the user.
    """
    if "://" in data:
        return
    spec, policy = config.data.data_spec, (config.data.on_bad_rows, config.data.max_bad_rows)
    paths = [pathlib.Path(path) for path in source.spans(data).values()] if SPAN in data else [pathlib.Path(data)]
    if not paths[0].exists():
        raise ValueError(f"no data at {data!r}; pass a directory, an archive or a URI that holds ratings and movies")
    files = [file for path in paths for file in ([path] if path.is_file() else [*path.glob("*"), *path.glob("*/*")])]
    packed = paths[0].is_file() or any(source.packed_as(file.name) for file in files)
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size > (_SMALL_PACKED_BYTES if packed else _SMALL_BYTES):
        return
    with tempfile.TemporaryDirectory(prefix="matinee-") as directory:
        tables = source.find_sources(data, directory, config.data.max_unpacked_ratio, spec, config.data.span_window)
        catalogue = read_movies(tables[source.MOVIES], config.data.max_movies_bytes, spec)
        add_links(catalogue.movies, tables.get(source.LINKS), spec.links, catalogue.domain.text_item_ids)
        ratings, report, whole = inspection.look(tables[source.RATINGS], spec, catalogue)
    checks.enforce([catalogue.report, *([report] if whole else [])], *policy)
    if not whole:  # What was packed may be large.
        return
    _check_size(config, ratings, catalogue.movies.height)
    _check_index(config, catalogue.movies.height, catalogue.domain.num_categories)
    if user_id is not None:
        _check_user(user_id, ratings[USER_KEY if catalogue.domain.text_user_ids else f.USER_ID].unique().sort())


def _check_size(config: RunConfig, ratings: pl.DataFrame, movies: int) -> None:
    counts = ratings.group_by(f.USER_ID).len()["len"]
    most = max(counts, default=0)
    if movies < _LEAST_MOVIES:
        raise ValueError(f"there is {movies} movie; to recommend one to who has rated another takes {_LEAST_MOVIES}")
    if most < _LEAST_RATINGS and config.data.eval_after_s is None:
        raise ValueError(
            f"none of the {len(counts):,} users has more than {most} rating; to hold one out for the evaluation, "
            f"a user needs {_LEAST_RATINGS} at least"
        )
    batch_size = config.trainer.batch_size
    if batch_size and batch_size > ratings.height:
        raise ValueError(
            f"a batch has {batch_size:,} rows and the data {ratings.height:,} ratings; choose a smaller --batch-size"
        )


def check_data(config: RunConfig, summary: dict[str, Any], histories: pathlib.Path, user_id: str | None) -> None:
    """Hold the options against what ExampleGen found.

    Args:
      config: Configuration of the run.
      summary: Counts of the examples.
      histories: Directory of the user histories.
      user_id: The user of the summary, if one is asked for.

    Raises:
      ValueError: The data is too small for an option, or lacks the user; the message has the numbers.
    """
    train, held, movies = summary["train"], summary["eval"], summary["movies"]
    if not held:
        raise ValueError(
            f"no rating is held out for the evaluation. {_why_none(config, histories)} With --eval-fraction a larger "
            "share, or with --eval-after-s a time, some are"
        )
    batch_size = config.trainer.batch_size_of(train)
    if batch_size > train:
        raise ValueError(
            f"a batch has {batch_size:,} rows and the data {train:,} train ratings; choose a smaller --batch-size"
        )
    _check_index(config, movies, summary["categories"])
    if user_id is not None:
        _check_user(user_id, _user_keys(config, histories))


def _check_index(config: RunConfig, movies: int, categories: int) -> None:
    factory = config.pusher.index_factory
    if factory != EXACT and movies <= _MOST_TRAINED:
        shape = movies, config.trainer.joined_dim(categories)
        vectors = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        faiss.normalize_L2(vectors)
        _factory_error(factory, lambda: build_faiss(vectors, factory), f" for {movies:,} movies")


def _check_user(user_id: str, ids: pl.Series) -> None:
    if user_id not in ids.cast(pl.String):
        raise ValueError(f"--user {user_id} is not in the data: {len(ids):,} users, {ids[0]} to {ids[-1]}")


def read_summary(examples: Any) -> dict[str, Any]:
    """Return the counts that ExampleGen left in the properties of the examples, an artifact of ML Metadata."""
    counts: dict[str, Any] = json.loads(examples.custom_properties[keys.EXAMPLES_SUMMARY].string_value)
    return counts


def _factory_error(factory: str, build: Any, where: str = "") -> None:
    try:
        build()
    except (RuntimeError, ValueError) as error:
        # FAISS' messages begin with the place in its source.
        reason = re.sub(r"^.*?\.cpp:\d+: (?:Error: )?", "", str(error)).splitlines()[0]
        raise ValueError(f"--index-factory {factory!r} makes no index{where}: {reason}. Try Flat or HNSW32") from None


def _why_none(config: RunConfig, histories: pathlib.Path) -> str:
    if config.data.eval_after_s is not None:
        return f"Every rating is older than --eval-after-s {config.data.eval_after_s}."
    most = int(_users(histories)["len"].to_numpy().max())
    return (
        f"The most active of the users has {most} ratings: too few to hold {config.data.eval_fraction:.0%} out, "
        f"or fewer than --min-ratings {config.data.min_ratings}."
    )


def _user_keys(config: RunConfig, histories: pathlib.Path) -> pl.Series:
    """Return every user's id as the data has it, sorted."""
    if config.data.data_spec.ratings.user_ids == "number":
        return _users(histories)[f.USER_ID].sort()
    return pl.scan_parquet(sorted(histories.glob(f"{USERS_PREFIX}-*.parquet"))).collect()[USER_KEY].sort()


def _users(histories: pathlib.Path) -> pl.DataFrame:
    """Return every user and their number of ratings, `len`."""
    return pl.scan_parquet(sorted(histories.glob(f"{HISTORIES_PREFIX}-*.parquet"))).group_by(f.USER_ID).len().collect()

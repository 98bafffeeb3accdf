"""New movies without training: the served version's movie tower embeds them into an index version of its own."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
import time
from functools import partial

import fsspec
import numpy as np
import polars as pl
import tensorflow as tf

from components.embedding import embed_movies
from components.polars_example_gen import checks, movie_features
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.header import SCHEMA
from components.polars_example_gen.source import table_at
from components.pusher.config import PusherConfig
from components.pusher.publish import check_pair, weights_digest
from components.similarity import similarity_vectors
from schemas import features as f
from schemas import manifest as m
from schemas import signatures as s
from schemas.data_spec import DataSpec, named
from schemas.ingest import LINKS, LINKS_TYPE, YEAR
from schemas.user_features import no_ratings
from schemas.vectors import Vectors
from serving import index, store


@dataclasses.dataclass(frozen=True)
class Added:
    """What became of new movies."""

    version: int
    """The version that holds them."""
    movies: int
    """How many were added."""
    removed: tuple[int, ...]
    """Old versions that were removed."""


def add_movies(
    serving_dir: str,
    movies_path: str,
    keep_versions: int = PusherConfig.keep_versions,
    on_bad_rows: str = ExampleGenConfig.on_bad_rows,
    max_bad_rows: float = ExampleGenConfig.max_bad_rows,
    spec: DataSpec | None = None,
) -> Added:
    """Embed new movies with the newest version's movie tower and publish them beside the same user tower.

    Args:
      serving_dir: Path or URI of the served versions.
      movies_path: Movies table, path or URI, as the data specification says: of MovieLens movieId, title, genres.
      keep_versions: How many versions stay, at least 1.
      on_bad_rows: `fail` or `drop`.
      max_bad_rows: With `drop`, the largest share of bad rows, in [0, 1].
      spec: The data specification; MovieLens' by default.

    Raises:
      ValueError: Nothing is served, or the table is bad or repeats a known movie; nothing is published then.
      RuntimeError: The served version is damaged, or of another format.
    """
    serving = store.ServingStore(serving_dir)
    serving.resolve()
    with serving.exclusive():
        return _add(serving, movies_path, keep_versions, on_bad_rows, max_bad_rows, spec or named())


def _add(
    serving: store.ServingStore,
    movies_path: str,
    keep_versions: int,
    on_bad_rows: str,
    max_bad_rows: float,
    spec: DataSpec,
) -> Added:
    served = serving.resolve()
    served_dir = serving.directory(m.EMBEDDING_INDEX, served)
    old = index.read_index(served_dir, served)
    movies, report = _read(movies_path, old, spec)
    checks.enforce([report], on_bad_rows, max_bad_rows)
    new = _featurise(movies, old)
    with tempfile.TemporaryDirectory(prefix="matinee-") as name:
        work = pathlib.Path(name)
        models = {
            folder: serving.local_copy(m.EMBEDDING_INDEX, served, str(work / f"served_{folder}"), folder)
            for folder in (m.MOVIE_TOWER, m.EVALUATED)
        }
        vectors = Vectors.concatenate([old.vectors, embed_movies(tf.saved_model.load(models[m.MOVIE_TOWER]), new)])
        movies = pl.concat([old.movies, _with_links(new, old).select(old.movies.columns)])
        order = movies[f.MOVIE_ID].arg_sort().to_numpy()
        movies = movies[order]
        places = np.searchsorted(movies[f.MOVIE_ID].to_numpy(), old.movies[f.MOVIE_ID].to_numpy())
        user_tower = serving.local_copy(s.USER_TOWER, served, str(work / "served_tower"))
        version = serving.next_version(time.time())
        histories = old.histories.moved(places)
        contents = index.IndexContents(
            vectors=vectors[order],
            similarity=similarity_vectors(movies, histories),
            movies=movies,
            histories=histories,
            constants=old.constants,
            user_tower_file=f"{served_dir}/{m.USER_TOWER_FILE}",
            tower_digest=weights_digest(user_tower),
            probe=old.manifest.probe,
            models=models,
            index_factory=old.manifest.index_factory,
            user_keys=old.user_keys,
        )
        index.write_index(str(work / m.EMBEDDING_INDEX), version, contents, user_tower)
        check = partial(check_pair, no_ratings(old.constants))
        serving.publish(version, str(work / m.EMBEDDING_INDEX), user_tower, check)
    return Added(version, new.height, tuple(serving.prune(keep_versions)))


def _with_links(new: pl.DataFrame, old: index.EmbeddingIndex) -> pl.DataFrame:
    """Of new movies nobody has said where else they are."""
    return new.with_columns(pl.lit([], LINKS_TYPE).alias(LINKS)) if LINKS in old.movies.columns else new


def _read(path: str, old: index.EmbeddingIndex, spec: DataSpec) -> tuple[pl.DataFrame, checks.Report]:
    fs, name = fsspec.core.url_to_fs(path)
    if not fs.exists(name):
        raise ValueError(f"no movies table at {path!r}; pass a CSV or Parquet file ({', '.join(spec.items.columns)})")
    domain = old.manifest.domain
    if (spec.items.item_ids == "text") != domain.text_item_ids:
        kind = "text" if domain.text_item_ids else "numbers"
        raise ValueError(f"the movies of version {old.manifest.version} have {kind} for ids; pass its --data-spec")
    with tempfile.TemporaryDirectory(prefix="matinee-") as directory:
        source = table_at(path, spec.items, directory)
        movies, report, _ = read_movies(source, spec=spec, domain=domain)
    known = movies.filter(pl.col(f.MOVIE_ID).is_in(old.movies[f.MOVIE_ID].implode()))
    if known.height:
        first = ", ".join(map(str, known[f.MOVIE_ID].head(5)))
        raise ValueError(
            f"{source.name}: {known.height:,} of {movies.height:,} movies are in version {old.manifest.version} "
            f"already (movieId {first}); keep only the new ones"
        )
    return movies, report


def _featurise(movies: pl.DataFrame, old: index.EmbeddingIndex) -> pl.DataFrame:
    """Give new movies the features of a movie that nobody has rated; a missing year is the catalogue's median."""
    median = old.movies[YEAR].median()
    imputed = pl.col(f.MOVIE_YEAR) if median is None else pl.col(YEAR).cast(pl.Float32).fill_null(median)
    nothing = movie_features.movie_statistics(pl.DataFrame(schema=SCHEMA))
    dated = movies.with_columns(imputed.cast(pl.Float32).alias(f.MOVIE_YEAR))
    return movie_features.movie_features(dated, nothing, old.constants)

"""The embedding index: movie embeddings, catalogue and histories of one version, in one directory."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
import shutil
import time
from collections.abc import Mapping, Sequence

import faiss
import fsspec
import numpy as np
import polars as pl
from fsspec.implementations.local import LocalFileSystem

from schemas import manifest as m
from schemas.histories import Histories, Ratings
from schemas.ingest import USER_KEY
from schemas.user_features import FeatureConstants
from schemas.vectors import Vectors
from serving.index_checks import are_unit, check_names, check_tree, problems
from serving.rating_file import RatingFile

EXACT = "Flat"
"""index_factory of the exact search."""

_KEPT = frozenset([m.EMBEDDINGS_FILE, m.RATING_VECTORS_FILE, m.SIMILARITY_FILE, m.MOVIES_FILE, m.USERS_FILE])
_MODELS = {f"{folder}/{m.SAVED_MODEL_FILE}" for folder in (m.MOVIE_TOWER, m.EVALUATED)} | {m.USER_TOWER_FILE}


@dataclasses.dataclass(frozen=True)
class EmbeddingIndex:
    """What serving needs beside the user tower."""

    manifest: m.Manifest
    vectors: Vectors
    """Of every movie, in the order of `movies`."""
    similarity: np.ndarray
    """`[movies, n]` float32, L2-normalised: the cosine of two movies' is how similar they are."""
    movies: pl.DataFrame
    """The catalogue, sorted by `movie_id`."""
    histories: Histories
    """Every rating; read from the file where that is local."""
    faiss_index: faiss.Index | None
    """Of an approximate search; None of the exact one."""
    user_keys: pl.Series | None = None
    """`[users]` text, the users' ids as the data has them; None where those are numbers."""

    @property
    def constants(self) -> FeatureConstants:
        """The constants of the user features."""
        return constants_of(self.manifest)


def constants_of(manifest: m.Manifest) -> FeatureConstants:
    """Return the constants of the user features."""
    return FeatureConstants(
        *(manifest.global_mean, tuple(manifest.genre_means), manifest.latest_s, manifest.pseudo_ratings),
        manifest.domain,
    )


@dataclasses.dataclass(frozen=True)
class IndexContents:
    """What an index version is made of."""

    vectors: Vectors
    """Of every movie."""
    similarity: np.ndarray
    """`[movies, n]` float32, L2-normalised: the cosine of two movies' is how similar they are."""
    movies: pl.DataFrame
    """Catalogue in the order of the vectors."""
    histories: Histories
    """Every rating, its movie by its position in `movies`."""
    constants: FeatureConstants
    """Constants of the user features."""
    user_tower_file: str
    """The user tower's weights, as `schemas.numpy_tower` has written them: a local path or a URI."""
    tower_digest: str
    """SHA-256 of the same in its SavedModel."""
    probe: Sequence[float]
    """`[dim]` the user tower's embedding of a user without ratings."""
    models: Mapping[str, str]
    """Folder -> SavedModel to copy there, of `schemas.manifest.MOVIE_TOWER` and `EVALUATED`."""
    index_factory: str = EXACT
    """FAISS index_factory string, such as `Flat` or `HNSW32`."""
    user_keys: pl.Series | None = None
    """`[users]` text, the users' ids as the data has them; None where those are numbers."""


def write_index(
    directory: str, version: int, contents: IndexContents, tower_dir: str, created_s: float | None = None
) -> m.Manifest:
    """Write an index to an empty local directory, the manifest last.

    Args:
      directory: Where to write; created if missing.
      version: Version of the index.
      contents: What to write; its models lie in local directories.
      tower_dir: Local directory with the user tower's SavedModel that is published with it.
      created_s: Unix time of the publication; now by default.

    Returns:
      The manifest.

    Raises:
      ValueError: The rows do not match, an embedding is no unit vector, or FAISS does not know the factory string.
    """
    movies, histories, constants = contents.movies, contents.histories, contents.constants
    embeddings = _checked(contents.vectors.embeddings, movies.height, "embeddings")
    rating_vectors = _checked(contents.vectors.rating_vectors, movies.height, "rating vectors")
    similarity = _checked(contents.similarity, movies.height, "similarity vectors")
    path = pathlib.Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    if contents.index_factory != EXACT:
        faiss.write_index(build_faiss(embeddings, contents.index_factory), str(path / m.INDEX_FILE))
    np.save(path / m.EMBEDDINGS_FILE, embeddings)
    np.save(path / m.RATING_VECTORS_FILE, rating_vectors)
    np.save(path / m.SIMILARITY_FILE, similarity)
    movies.write_parquet(path / m.MOVIES_FILE)
    np.save(path / m.USERS_FILE, histories.users)
    np.save(path / m.HISTORIES_FILE, histories.ratings[:])
    if contents.user_keys is not None:
        contents.user_keys.alias(USER_KEY).to_frame().write_parquet(path / m.USER_KEYS_FILE)
    for folder, saved_model in contents.models.items():
        shutil.copytree(saved_model, path / folder)
    with fsspec.open(contents.user_tower_file, "rb") as file:
        (path / m.USER_TOWER_FILE).write_bytes(file.read())
    weights = contents.tower_digest.encode() + embeddings.tobytes() + rating_vectors.tobytes()
    manifest = m.Manifest(
        format=m.FORMAT,
        version=version,
        created_s=int(time.time() if created_s is None else created_s),
        dim=embeddings.shape[1],
        rating_dim=rating_vectors.shape[1],
        similarity_dim=similarity.shape[1],
        metric="inner_product",
        index_factory=contents.index_factory,
        counts={"movies": movies.height, "users": len(histories.users), "ratings": len(histories.ratings)},
        model_digest=hashlib.sha256(weights).hexdigest(),
        files=_digests(path),
        tower_files=_digests(pathlib.Path(tower_dir)),
        global_mean=constants.global_mean,
        genre_means=list(constants.genre_means),
        pseudo_ratings=constants.pseudo_ratings,
        latest_s=constants.latest_s,
        domain=constants.domain,
        probe=[float(x) for x in contents.probe],
    )
    (path / m.MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _digests(directory: pathlib.Path) -> dict[str, str]:
    files = sorted(entry.relative_to(directory).as_posix() for entry in directory.rglob("*") if entry.is_file())
    return {name: m.sha256(str(directory / name)) for name in files}


def _checked(vectors: np.ndarray, movies: int, name: str) -> np.ndarray:
    if len(vectors) != movies:
        raise ValueError(f"{len(vectors)} {name} for {movies} movies")
    if not are_unit(vectors):
        norms = np.linalg.norm(vectors, axis=1)
        raise ValueError(f"movie {name} must be unit vectors, lengths range from {norms.min()} to {norms.max()}")
    return np.ascontiguousarray(vectors, np.float32)


def build_faiss(embeddings: np.ndarray, index_factory: str) -> faiss.Index:
    """Build a FAISS index over unit vectors by inner product."""
    try:
        index = faiss.index_factory(embeddings.shape[1], index_factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError:
        raise ValueError(
            f"FAISS does not know the index_factory string {index_factory!r}; try 'Flat' or 'HNSW32'"
        ) from None
    index.train(embeddings)
    index.add(embeddings)
    return index


def read_manifest(directory: str) -> m.Manifest:
    """Read a version's manifest, local or behind a URI.

    Raises:
      FormatError: It is of another format.
      RuntimeError: It is missing or broken.
    """
    path = f"{directory}/{m.MANIFEST_FILE}"
    check_regular(directory)
    try:
        with fsspec.open(path, "rb") as file:
            return m.Manifest.from_json(file.read())
    except m.FormatError as error:
        raise m.FormatError(f"{path}: {error}") from None
    except (FileNotFoundError, ValueError) as error:
        raise RuntimeError(f"{path} is missing or broken: {error}. Publish the version again") from error


def check_regular(directory: str) -> None:
    """Raise RuntimeError if a directory, where it is local, holds anything but directories and regular files."""
    if _is_local(directory):
        try:
            check_tree(fsspec.core.strip_protocol(directory))
        except ValueError as error:
            raise RuntimeError(str(error)) from None


def _is_local(directory: str) -> bool:
    return isinstance(fsspec.core.url_to_fs(directory)[0], LocalFileSystem)


def read_index(directory: str, version: int | None = None) -> EmbeddingIndex:
    """Load an index and verify its digests.

    Args:
      directory: A version's directory, local or behind a URI.
      version: The version that it must be; whatever it says by default.

    Raises:
      FormatError: The version is of another format.
      RuntimeError: The manifest is missing or broken, a file's digest is not the manifest's, or what was read makes no
        sense.
    """
    manifest = read_manifest(directory)
    if version is not None and manifest.version != version:
        raise RuntimeError(f"{directory} says that it is version {manifest.version}. Publish the version again")
    exact = manifest.index_factory == EXACT
    kept = _KEPT if exact else _KEPT | {m.INDEX_FILE}
    kept |= {m.USER_KEYS_FILE} if manifest.domain.text_user_ids else set()
    if missing := (kept | {m.HISTORIES_FILE} | _MODELS) - manifest.files.keys():
        raise RuntimeError(f"{directory}/{m.MANIFEST_FILE} lists no {min(missing)}. Publish the version again")
    path = fsspec.core.strip_protocol(directory) if _is_local(directory) else None
    try:
        return _read(directory, path, manifest, kept)
    except (ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise RuntimeError(f"{directory} makes no sense: {error}. Publish the version again") from error


def check_digest(file: str, found: str, expected: str) -> None:
    """Raise RuntimeError unless a file's SHA-256 is the manifest's."""
    if found != expected:
        raise RuntimeError(
            f"{file} is damaged: its SHA-256 is {found[:12]}..., the manifest says {expected[:12]}.... "
            "Publish the version again"
        )


def _read(directory: str, path: str | None, manifest: m.Manifest, kept: frozenset[str]) -> EmbeddingIndex:
    """Read a version's files and check them; `path` is the directory's where it is local."""
    check_names(manifest.files)
    blobs, ratings = _verified(directory, path, manifest, kept)
    embeddings, rating_vectors, similarity, users = (
        _array(blobs[name]) for name in (m.EMBEDDINGS_FILE, m.RATING_VECTORS_FILE, m.SIMILARITY_FILE, m.USERS_FILE)
    )
    faiss_index = None
    if m.INDEX_FILE in kept:
        faiss_index = faiss.deserialize_index(np.frombuffer(blobs[m.INDEX_FILE], np.uint8))
    vectors, histories = Vectors(embeddings, rating_vectors), Histories(users, ratings, manifest.domain.scale)
    movies = pl.read_parquet(io.BytesIO(blobs[m.MOVIES_FILE]))
    user_keys = None
    if m.USER_KEYS_FILE in kept:
        user_keys = pl.read_parquet(io.BytesIO(blobs[m.USER_KEYS_FILE]))[USER_KEY]
    for problem in problems(manifest, vectors, similarity, movies, histories, faiss_index, user_keys):
        raise ValueError(problem)
    return EmbeddingIndex(manifest, vectors, similarity, movies, histories, faiss_index, user_keys)


def _array(data: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(data))
    return array


def _verified(
    directory: str, path: str | None, manifest: m.Manifest, kept: frozenset[str]
) -> tuple[dict[str, bytes], Ratings]:
    """Verify the digests of all files; return the contents of those to keep, and the ratings."""
    blobs, ratings = {}, None
    for name, expected in manifest.files.items():
        file = f"{directory}/{name}"
        try:
            if name in kept:
                with fsspec.open(file, "rb") as opened:
                    blobs[name] = opened.read()
                found = hashlib.sha256(blobs[name]).hexdigest()
            elif name == m.HISTORIES_FILE:
                ratings, found = _ratings(file, path)
            else:
                found = m.sha256(file)
        except FileNotFoundError:
            raise RuntimeError(f"{file} is missing. Publish the version again") from None
        check_digest(file, found, expected)
    assert ratings is not None, "listed, which was looked at before"
    return blobs, ratings


def _ratings(file: str, path: str | None) -> tuple[Ratings, str]:
    """Return the ratings, in memory where they lie behind a URI, and their file's digest."""
    if path is not None:
        ratings = RatingFile(f"{path}/{m.HISTORIES_FILE}")
        return ratings, ratings.sha256
    with fsspec.open(file, "rb") as opened:
        blob = opened.read()
    return _array(blob), hashlib.sha256(blob).hexdigest()

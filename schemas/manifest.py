"""The manifest of a published index: what belongs to a version, and the digests that prove it."""

from __future__ import annotations

import hashlib
import json

import fsspec
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN
from schemas.domain import Domain

FORMAT = 9
"""Number of the published format: manifest, files, and what the towers take and answer. It is raised with every change
that an older reader does not understand."""

EMBEDDING_INDEX = "embedding_index"
"""Folder of the index versions under the serving root."""
MANIFEST_FILE = "manifest.json"
INDEX_FILE = "index.faiss"
"""Only of an approximate search: the exact one needs the embeddings alone."""
EMBEDDINGS_FILE = "embeddings.npy"
RATING_VECTORS_FILE = "rating_vectors.npy"
SIMILARITY_FILE = "similarity.npy"
MOVIES_FILE = "movies.parquet"
USERS_FILE = "users.npy"
USER_KEYS_FILE = "user_keys.parquet"
"""Only where users are text: in the order of `USERS_FILE`."""
HISTORIES_FILE = "histories.npy"
"""With `USERS_FILE`, a `schemas.histories.Histories`."""
USER_TOWER_FILE = "user_tower.npz"
"""The user tower's weights, for `schemas.numpy_tower`; also in the Model artifact."""
SAVED_MODEL_FILE = "saved_model.pb"
MOVIE_TOWER = "movie_tower"
"""Folder of an index version with the movie tower's SavedModel, to embed movies that come later."""
EVALUATED = "evaluated"
"""Folder with the model before it learned the eval ratings: what later models are compared with."""


class FormatError(RuntimeError):
    """A version of another format than this code reads: only to publish again helps."""


@dataclass(frozen=True, config=FROZEN)
class Manifest:
    """What an index version holds."""

    format: int
    """`FORMAT` when it was written."""
    version: int
    """Version of the index and of the user tower that belongs to it."""
    created_s: int
    """Unix time of the publication in seconds."""
    dim: int
    """Length of an embedding."""
    rating_dim: int
    """Length of a rating vector."""
    similarity_dim: int
    """Length of a vector by which similar movies are found."""
    metric: str
    """`inner_product`: of unit vectors, the cosine."""
    index_factory: str
    """FAISS index_factory string."""
    counts: dict[str, int]
    """`movies`, `users`, `ratings`."""
    model_digest: str
    """SHA-256 over the user tower's weights and the movie embeddings."""
    files: dict[str, str]
    """File name -> SHA-256."""
    tower_files: dict[str, str]
    """The same of the user tower's SavedModel, which lies beside the index."""
    global_mean: float
    """Feature constant: mean of all train ratings, in stars."""
    genre_means: list[float]
    """Feature constant: mean of the train ratings per genre, in stars."""
    pseudo_ratings: float
    """Feature constant: weight of the prior mean, in ratings."""
    latest_s: int
    """Feature constant: time of the latest train rating, Unix seconds."""
    domain: Domain
    """Scale, categories and what else the data set is about."""
    probe: list[float]
    """`[dim]` what this version's user tower answers for a user without ratings, to tell it from any other tower."""

    def to_json(self) -> str:
        """Serialise."""
        return TypeAdapter(Manifest).dump_json(self, indent=1).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parse.

        Raises:
          FormatError: It is of another format.
          ValueError: It is no JSON, or a field is missing or of the wrong type.
        """
        values = json.loads(text)
        found = values.get("format") if isinstance(values, dict) else None
        if found != FORMAT:
            raise FormatError(f"format {found}, this Matinee reads format {FORMAT}. Publish the version again")
        return TypeAdapter(cls).validate_python(values)


def sha256(path: str) -> str:
    """Hash a file, local or behind a URI."""
    digest = hashlib.sha256()
    with fsspec.open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

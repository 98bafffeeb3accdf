"""The manifest of a published index: what belongs to a version, and the digests that prove it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

import fsspec
import numpy as np
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from schemas import features as f
from schemas.configuration import FROZEN

EMBEDDING_INDEX = "embedding_index"
"""Folder of the index versions under the serving root."""
MANIFEST_FILE = "manifest.json"
INDEX_FILE = "index.faiss"
EMBEDDINGS_FILE = "embeddings.npy"
RATING_VECTORS_FILE = "rating_vectors.npy"
MOVIES_FILE = "movies.parquet"
USERS_FILE = "users.npy"
HISTORIES_FILE = "histories.npy"
"""With `USERS_FILE`, a `schemas.histories.Histories`."""
FORMER_HISTORIES_FILE = "histories.parquet"
"""Which both replaced: `user_id`, `movie_id`, `rating`, `timestamp`, sorted by user and time."""
SAVED_MODEL_FILE = "saved_model.pb"
MOVIE_TOWER = "movie_tower"
"""Folder of an index version with the movie tower's SavedModel, to embed movies that come later."""
EVALUATED = "evaluated"
"""Folder with the model before it learned the eval ratings: what later models are compared with."""


@dataclass(frozen=True, config=FROZEN)
class Manifest:
    """What an index version holds."""

    version: int
    """Version of the index and of the user tower that belongs to it."""
    created_s: int
    """Unix time of the publication in seconds."""
    dim: int
    """Length of an embedding."""
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
    global_mean: float
    """Feature constant: mean of all train ratings, in stars."""
    genre_means: list[float]
    """Feature constant: mean of the train ratings per genre, in stars."""
    pseudo_ratings: float
    """Feature constant: weight of the prior mean, in ratings."""
    latest_s: int = 0
    """Feature constant: time of the latest train rating, Unix seconds; towers of before do not ask for it."""
    user_inputs: list[str] = dataclasses.field(default_factory=lambda: list(f.USER_FEATURES))
    """What the user tower takes. Those of before there were histories, whose manifests lack this, take no others."""
    probe: list[float] = dataclasses.field(default_factory=list)
    """`[dim]` what this version's user tower answers for a user without ratings, to tell it from any other tower."""

    def taken(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return those of a user tower's inputs that this version's tower takes."""
        return {name: inputs[name] for name in self.user_inputs}

    def has_model(self, folder: str) -> bool:
        """Return whether the version has a SavedModel in a folder."""
        return f"{folder}/{SAVED_MODEL_FILE}" in self.files

    def to_json(self) -> str:
        """Serialise."""
        return TypeAdapter(Manifest).dump_json(self, indent=1).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parse; raises ValueError if a field is missing or of the wrong type."""
        return TypeAdapter(cls).validate_json(text)


def sha256(path: str) -> str:
    """Hash a file, local or behind a URI."""
    digest = hashlib.sha256()
    with fsspec.open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

"""Whether a published version is whole: what it takes to serve it is there, undamaged, and belongs together."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable

from schemas.manifest import EMBEDDING_INDEX
from schemas.signatures import USER_TOWER
from schemas.user_features import no_ratings
from serving.index import EmbeddingIndex, read_index
from serving.store import ServingStore
from serving.user_tower import InProcessUserTower, is_probe

_LOG = logging.getLogger(__name__)


def read_whole(store: ServingStore, version: int) -> EmbeddingIndex:
    """Load a version's index, verify its digests, and ask its user tower for the probe in the manifest.

    Raises:
      FormatError: The version is of another format.
      RuntimeError: A file is missing or damaged, the tower does not load, or it is another model's.
    """
    with tempfile.TemporaryDirectory(prefix="matinee-") as directory:
        index = read_index(store.directory(EMBEDDING_INDEX, version), version)
        return _with_its_tower(index, lambda: store.local_copy(USER_TOWER, version, directory))


def check_pair(index_dir: str, tower_dir: str) -> None:
    """Raise RuntimeError unless an index and a user tower, in a local directory, load and belong together."""
    _with_its_tower(read_index(index_dir), lambda: tower_dir)


def _with_its_tower(index: EmbeddingIndex, tower_dir: Callable[[], str]) -> EmbeddingIndex:
    where = f"the user tower of version {index.manifest.version}"
    try:
        answer = InProcessUserTower(tower_dir()).embed(no_ratings(index.constants)).embeddings[0]
    except Exception as error:  # A damaged graph fails in as many ways as there are operations.
        raise RuntimeError(f"{where} does not work: {error}. Publish again") from error
    if not is_probe(answer, index.manifest.probe):
        raise RuntimeError(f"{where} is another model's than its index. Publish again")
    return index


def newest_whole(store: ServingStore) -> tuple[int, EmbeddingIndex] | None:
    """Return the newest version that is whole, or None where there is none."""
    for version in reversed(store.versions()):
        index = whole(store, version)
        if index is not None:
            return version, index
    return None


def whole(store: ServingStore, version: int) -> EmbeddingIndex | None:
    """Return a version's index, or None where the version is damaged or of another format: it counts as not served."""
    try:
        return read_whole(store, version)
    except (OSError, RuntimeError) as error:
        _LOG.warning("version %d counts as not served: %s", version, error)
        return None

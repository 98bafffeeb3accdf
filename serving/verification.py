"""Whether a published version is whole: what it takes to serve it is there, undamaged, and belongs together."""

from __future__ import annotations

import logging

from schemas.manifest import EMBEDDING_INDEX
from serving.index import EmbeddingIndex, read_index
from serving.store import ServingStore
from serving.user_tower import tower_of

_LOG = logging.getLogger(__name__)


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
        index = read_index(store.directory(EMBEDDING_INDEX, version), version)
        tower_of(store, version)
    except (OSError, RuntimeError) as error:
        _LOG.warning("version %d counts as not served: %s", version, error)
        return None
    return index

"""Versions that are damaged or made to do harm: none counts as served, and none is waited for."""

import shutil

import pytest

from benchmarks.faults.versions import DAMAGES, copy_version
from schemas.manifest import EMBEDDING_INDEX
from schemas.signatures import USER_TOWER
from serving.store import ServingStore
from serving.verification import newest_whole, whole


def test_an_undamaged_copy_counts(root):
    store = ServingStore(str(root))
    version = copy_version(root, store.latest())
    assert newest_whole(store)[0] == version


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_version_counts_as_not_served(root, damage):
    store = ServingStore(str(root))
    bad = copy_version(root, store.latest())
    DAMAGES[damage](root / EMBEDDING_INDEX / str(bad), root / USER_TOWER / str(bad))
    assert bad not in store.versions() or whole(store, bad) is None
    shutil.rmtree(root)

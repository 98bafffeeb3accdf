import os

import numpy as np
import pytest

from components.trainer.input import batches
from schemas import features as f


def ids(dataset):
    return np.concatenate([features[f.MOVIE_ID].numpy()[:, 0] for features, _ in dataset])


def test_eval_keeps_every_row_in_order(shards, lookups, raw):
    dataset = batches([shards], *lookups, 64)
    labels = np.concatenate([label.numpy() for _, label in dataset])
    assert len(labels) == 600
    np.testing.assert_allclose(np.sort(labels[:, 0]), np.sort((raw[f.RATING][:, 0] - 2.75) / 2.25), atol=1e-6)


def test_training_shuffles_by_seed_and_drops_the_rest(shards, lookups):
    def order(seed):
        return ids(batches([shards], *lookups, 64, shuffle_rows=600, seed=seed))

    assert len(order(0)) == 600 // 64 * 64
    np.testing.assert_array_equal(order(0), order(0))
    assert not np.array_equal(order(0), order(1))
    dataset = batches([shards], *lookups, 64, shuffle_rows=600)
    assert not np.array_equal(ids(dataset), ids(dataset)), "each epoch has an order of its own"


@pytest.mark.parametrize("shuffle_rows", [1, 130, 600])
def test_whatever_is_shuffled_at_a_time_all_whole_batches_come(shards, lookups, shuffle_rows):
    """600 rows are 9 batches of 64 and a rest; read in order, the first 576 rows are in some window each."""
    dataset = batches([shards], *lookups, 64, shuffle_rows=shuffle_rows)
    sizes = [len(label) for _, label in dataset]
    assert sizes == [64] * 9
    kept = np.concatenate([label.numpy()[:, 0] for _, label in dataset])
    rows = np.concatenate([label.numpy()[:, 0] for _, label in batches([shards], *lookups, 64)])
    values, numbers = np.unique(rows, return_counts=True)
    assert all(np.sum(kept == value) <= number for value, number in zip(values, numbers, strict=True))


def test_no_shards_is_an_error(lookups, tmp_path):
    with pytest.raises(ValueError, match="no examples at"):
        batches([str(tmp_path / "*.gz")], *lookups, 64)


@pytest.mark.parametrize("cores", [None, 1, 2, 9, 64])
def test_the_rows_and_their_order_do_not_depend_on_the_cores(shards, lookups, monkeypatch, cores):
    def order():
        return ids(batches([shards], *lookups, 64, shuffle_rows=600, seed=3))

    expected = order()
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    np.testing.assert_array_equal(order(), expected)

import os

import numpy as np
import pytest

from components.trainer.input import Order, batches, shard_paths
from schemas import features as f


def read(shards, row_inputs, number=None, **order):
    """Labels and movie ids of a pass, or of a number of batches."""
    found = batches(shard_paths([shards]), row_inputs, Order(64, **order))
    rows = list(found if number is None else found.take(number))
    return [label.numpy()[:, 0] for _, label in rows], [features[f.MOVIE_ID].numpy()[:, 0] for features, _ in rows]


def test_eval_keeps_every_row_in_order(shards, row_inputs, raw):
    labels = np.concatenate(read(shards, row_inputs)[0])
    assert len(labels) == 600
    np.testing.assert_allclose(np.sort(labels), np.sort((raw[f.RATING][:, 0] - 2.75) / 2.25), atol=1e-6)


def test_training_shuffles_by_seed_and_every_pass_anew(shards, row_inputs):
    def order(seed):
        return np.concatenate(read(shards, row_inputs, 75, shuffle_rows=600, seed=seed)[1])

    first = order(0)
    np.testing.assert_array_equal(order(0), first)
    assert not np.array_equal(order(1), first)
    passes = first[: 8 * 600].reshape(8, 600)
    for one in passes[1:]:
        np.testing.assert_array_equal(np.sort(one), np.sort(passes[0]), "every pass has all rows")
        assert not np.array_equal(one, passes[0])


@pytest.mark.parametrize("shuffle_rows", [1, 130, 600])
def test_whatever_is_shuffled_at_a_time_all_rows_come(shards, row_inputs, shuffle_rows):
    """600 rows are 9 batches of 64 and a rest, which the next pass fills."""
    labels, _ = read(shards, row_inputs, 75, shuffle_rows=shuffle_rows)
    assert [len(label) for label in labels] == [64] * 75
    expected = np.sort(np.concatenate(read(shards, row_inputs)[0]))
    np.testing.assert_array_equal(np.sort(np.concatenate(labels)), np.sort(np.tile(expected, 8)))


def test_no_shards_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no examples at"):
        shard_paths([str(tmp_path / "*.gz")])


@pytest.mark.parametrize("cores", [None, 1, 2, 9, 64])
def test_the_rows_and_their_order_do_not_depend_on_the_cores(shards, row_inputs, monkeypatch, cores):
    expected = read(shards, row_inputs, 20, shuffle_rows=600, seed=3)[1]
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    np.testing.assert_array_equal(read(shards, row_inputs, 20, shuffle_rows=600, seed=3)[1], expected)

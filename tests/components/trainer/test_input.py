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


def test_no_shards_is_an_error(lookups, tmp_path):
    with pytest.raises(ValueError, match="no examples at"):
        batches([str(tmp_path / "*.gz")], *lookups, 64)

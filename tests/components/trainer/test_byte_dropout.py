import keras
import numpy as np
import pytest

from components.trainer.byte_dropout import ByteDropout


@pytest.mark.parametrize("width", [256, 33, 2])
def test_the_share_is_dropped_and_the_mean_stays(width):
    keras.utils.set_random_seed(1)
    inputs = np.ones((20_000, width), np.float32)
    outputs = np.asarray(ByteDropout(0.2)(inputs, training=True))
    assert outputs.shape == inputs.shape
    assert np.mean(outputs == 0) == pytest.approx(0.2, abs=0.01)
    assert outputs.mean() == pytest.approx(1, abs=0.01)
    by_column = np.mean(outputs == 0, axis=0)
    assert by_column.max() - by_column.min() < 0.04, "no place is dropped more often than another"
    if width > 2:
        assert abs(np.corrcoef(outputs[:, 0], outputs[:, 1])[0, 1]) < 0.04


def test_every_call_drops_others_and_serving_none():
    layer, inputs = ByteDropout(0.5), np.ones((100, 8), np.float32)
    first, second = (np.asarray(layer(inputs, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layer(inputs), inputs)
    np.testing.assert_array_equal(ByteDropout(0.0)(inputs, training=True), inputs)


def test_it_is_saved_with_its_rate():
    assert ByteDropout.from_config(ByteDropout(0.3).get_config()).rate == 0.3

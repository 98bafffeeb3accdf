"""Several steps in one loop, on rows that lie on the device or come a window at a time, beside the same streamed."""

import dataclasses

import keras
import numpy as np
import pytest

from components.trainer import co_ratings, devices, residual_factors
from components.trainer.config import TrainerConfig
from components.trainer.input import Order, batches, shard_paths
from components.trainer.looped import LoopedTwoTower, ResidentRows
from components.trainer.movie_averages import MovieAverages
from components.trainer.multi_worker import Worker
from components.trainer.source import model_class, training_source
from components.trainer.training import compiled_model
from schemas import features as f

STEPS = 200
CONFIG = TrainerConfig(
    hidden_units=(16,), embedding_dim=8, batch_size=30, shuffle_rows=130, negatives=32, eval_steps=STEPS
)


class Losses(keras.callbacks.Callback):
    """The loss after every call, as a mean from the first step on."""

    def __init__(self):
        super().__init__()
        self.means = []

    def on_train_batch_end(self, batch, logs=None):
        self.means.append(logs["loss"])


def fit(data, resident_gib, steps=STEPS, device=None, static_shapes=None, **config):
    """Train for some steps; return the mean loss up to every twentieth, and the weights."""
    config = dataclasses.replace(CONFIG, resident_gib=resident_gib, **config)
    keras.utils.set_random_seed(4)
    device = device or devices.of(config)
    factors, averages = co_ratings.fit(data.histories, 8), MovieAverages.fit(data.histories)
    config = dataclasses.replace(config, co_rating_dim=8)
    source = training_source(config, data, Worker(), device, averages, factors)
    model = compiled_model(config, data, device, model_class(config, data, Worker(), device))
    residuals = residual_factors.fit(data.histories, averages)
    model.learn_movies(data.genres, averages.of_movies, data.histories.likes, factors, residuals)
    source.give(model)
    if static_shapes is not None:
        model.static_shapes = static_shapes
    losses = Losses()
    calls = steps // source.steps_per_call
    model.fit(source.batches, steps_per_epoch=calls, callbacks=[losses], verbose=0)
    assert isinstance(model, LoopedTwoTower) == (source.row_inputs is not None)
    assert (source.rows is not None) == (resident_gib > 0)
    every = 20 // source.steps_per_call
    weights = np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables])
    return losses.means[every - 1 :: every], weights


def test_resident_rows_come_in_the_order_of_streamed_ones(shards, row_inputs):
    paths, order = shard_paths([shards]), Order(64, shuffle_rows=130, seed=5)
    resident = ResidentRows.read(paths, row_inputs)
    assert resident.starts.tolist() == [0, 200, 400, 600]
    movies = resident.columns[f.MOVIE_ID].numpy()[:, 0]
    streamed = [inputs[f.MOVIE_ID].numpy()[:, 0] for inputs, _ in batches(paths, row_inputs, order).take(30)]
    numbers = np.concatenate([rows.numpy() for rows, _ in resident.batches(order, 10).take(3)])
    np.testing.assert_array_equal(movies[numbers], streamed)


@pytest.mark.slow
def test_resident_rows_train_what_streamed_ones_do(train_data):
    """With all that is drawn: dropout, thinned histories, negatives."""
    streamed, weights = fit(train_data, resident_gib=0)
    resident, others = fit(train_data, resident_gib=1)
    np.testing.assert_allclose(resident, streamed, rtol=1e-4)
    assert len(resident) == STEPS / 20
    assert np.abs(weights - others).mean() < 1e-2 * np.abs(weights).mean()


@pytest.mark.slow
@pytest.mark.parametrize("softmax_rows", [10, 30])
def test_with_static_shapes_the_loss_is_the_same(train_data, softmax_rows):
    dynamic, _ = fit(train_data, 1, steps=100, softmax_rows=softmax_rows)
    static, _ = fit(train_data, 1, steps=100, softmax_rows=softmax_rows, static_shapes=True)
    np.testing.assert_allclose(static, dynamic, rtol=1e-4)


@pytest.mark.slow
def test_xla_compiles_the_steps_as_for_a_gpu(train_data):
    """What is drawn is drawn by other rules there."""
    device = dataclasses.replace(devices.of(CONFIG), is_gpu=True)
    compiled, weights = fit(train_data, 1, device=device)
    plain, others = fit(train_data, 1)
    np.testing.assert_allclose(compiled[-1], plain[-1], rtol=0.1)
    assert compiled[-1] < 0.6 * plain[0]
    assert np.corrcoef(weights, others)[0, 1] > 0.9


@pytest.mark.slow
def test_windows_of_rows_train_what_resident_ones_do(train_data):
    """As on a GPU whose memory the rows do not fit into, compiled by XLA."""
    gpu = dataclasses.replace(devices.of(CONFIG), is_gpu=True)
    resident, weights = fit(train_data, 1, device=gpu)
    windowed, others = fit(train_data, 0, device=dataclasses.replace(gpu, resident_bytes=0))
    np.testing.assert_allclose(windowed, resident, rtol=1e-4)
    assert len(windowed) == STEPS / 20
    assert np.abs(weights - others).mean() < 1e-2 * np.abs(weights).mean()


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="TensorFlow sees none"):
        devices.of(TrainerConfig(device="gpu"))


def test_larger_data_is_streamed(train_data):
    config = dataclasses.replace(CONFIG, resident_gib=1e-6)
    device = devices.of(config)
    assert not issubclass(model_class(config, train_data, Worker(), device), LoopedTwoTower)

"""Training: the two towers until they rank no better, then a little on all ratings."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import time

import keras
import numpy as np
import tensorflow as tf

from components.trainer import co_ratings, devices, residual_factors, user_variance
from components.trainer.callbacks import BestOfBoth, Clock, StepProgress
from components.trainer.config import TrainerConfig
from components.trainer.devices import Device
from components.trainer.input import movie_columns
from components.trainer.losses import Negatives
from components.trainer.movie_averages import MovieAverages
from components.trainer.multi_worker import Worker, this_worker
from components.trainer.optimizer import FusedAdam
from components.trainer.ranking import RankingMetrics
from components.trainer.source import Source, eval_batches, model_class, training_source
from components.trainer.state import Base
from components.trainer.train_data import TrainData
from components.trainer.two_tower import TwoTower
from schemas import keys

_NAME = "two_tower"
_REFIT_ROUNDS = 10
_CONTINUED_ROUNDS = 4
_PATIENCE_STEPS = 1000
"""Steps without anything better after which `patience` is over in any case: of large data an evaluation is for more."""
_FIRST_PASS_STEPS = 4000
"""Steps of the first pass over the rows that are taken in any case, at most: of 32 million rows it has 3,500."""
_TRAINING_SHARE = 0.8
"""Of the time that there is; the rest is the refit's."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training gives."""

    evaluated: TwoTower
    """The model of the best epochs, of ranking and rating each, which has seen no eval rating."""
    published: TwoTower
    """The same after `refit_epochs` over all ratings."""
    history: dict[str, list[float]]
    """Losses and metrics per round, until the best ones and `patience` more."""
    said: str
    """One line on how training ended."""


def compiled_model(
    config: TrainerConfig,
    data: TrainData,
    device: Device,
    cls: type[TwoTower] = TwoTower,
    base: Base | None = None,
) -> TwoTower:
    """Build the model, untrained or with the weights of another one, ready for `fit`."""
    model = cls(config, len(data.vocabulary), data.domain, name=_NAME)
    movies = movie_columns(data.ranking.catalog, data.inputs)
    model.negatives = Negatives(movies, config.negatives, config.uniform_share)
    model.static_shapes = device.compiles
    if base:
        base.give_weights(model)
    _compile(model, config, device)
    return model


def get_strategy(name: str) -> tf.distribute.Strategy:
    """Return the tf.distribute strategy of a configuration."""
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def train(
    config: TrainerConfig,
    data: TrainData,
    log_dir: str | None = None,
    strategy: tf.distribute.Strategy | None = None,
    base: Base | None = None,
) -> Trained:
    """Train a model on the train ratings until eval users are ranked for no better, then a little on all ratings.

    Of several workers each trains on its own shards, over and over, so that all take as many steps; and each evaluates
    all eval shards, so that all stop at the same step.

    Args:
      config: Trainer configuration.
      data: What to train on.
      log_dir: Where TensorBoard's logs go, if TensorBoard is installed.
      strategy: Of the configuration, made already.
      base: A model to go on from: for a few steps, at a lower rate.

    Raises:
      ValueError: There are fewer shards than workers, or fewer train rows than a batch has; several workers are to
        stop at a time, whose clocks would not agree on the step; a GPU is asked for and there is none.
    """
    begin = time.monotonic()
    strategy = strategy or get_strategy(config.strategy)
    worker, device = this_worker(strategy), devices.of(config)
    if worker.count > 1 and config.max_minutes:
        raise ValueError("max_minutes is for one machine; limit the training of several workers by --epochs")
    # Before the input is built: tf.data mixes the global seed into its own.
    keras.utils.set_random_seed(config.seed)
    if base:
        config = dataclasses.replace(
            config,
            learning_rate=config.learning_rate * config.continue_rate,
            eval_steps=min(config.eval_steps, max(config.continue_steps // _CONTINUED_ROUNDS, 1)),
            refit_steps=min(config.refit_steps, config.continue_steps),
        )
    with strategy.scope():
        model = compiled_model(config, data, device, model_class(config, data, worker, device), base)
    limit_s = 60 * (config.max_minutes or math.inf)
    source = _learn(model, config, data, worker, device, bool(base))
    steps = config.epochs * source.epoch_steps
    steps = min(steps, config.continue_steps) if base else steps
    rounds, calls = _rounds(steps, source, min(config.eval_steps, source.epoch_steps))
    clocks = [Clock("train", begin, source.steps_per_call, limit_s * _TRAINING_SHARE)]
    patience = min(config.patience, -(-_PATIENCE_STEPS // (calls * source.steps_per_call)))
    first = min(source.epoch_steps, _FIRST_PASS_STEPS) // (calls * source.steps_per_call)
    callbacks = [*_averaging(config), *clocks, *_early_stopping(config, data, patience, first, not base)]
    if worker.is_chief and log_dir and importlib.util.find_spec("tensorboard"):
        callbacks.append(keras.callbacks.TensorBoard(log_dir, write_graph=False))
    history = model.fit(
        source.batches,
        validation_data=eval_batches(config, data, worker, model.user_tower),
        epochs=rounds,
        steps_per_epoch=calls,
        callbacks=callbacks + _progress("train", source, worker),
        verbose=0,
    )
    published = evaluated = _outside_strategy(model)
    if config.refit_epochs:
        with strategy.scope():
            _compile(model, config, device)  # First, which forgets the tables that were trained with.
        source = _learn(model, config, data, worker, device, True, with_eval=True)
        steps = min(config.refit_epochs * source.epoch_steps, config.refit_steps)
        rounds, calls = _rounds(steps, source, -(-steps // _REFIT_ROUNDS))
        clocks.append(Clock("refit", begin, source.steps_per_call, limit_s))
        callbacks = [*_averaging(config), clocks[-1], *_progress("refit", source, worker)]
        model.fit(source.batches, epochs=rounds, steps_per_epoch=calls, callbacks=callbacks, verbose=0)
        published = _outside_strategy(model)
    curves = {name: [float(value) for value in values] for name, values in history.history.items()}
    return Trained(evaluated, published, curves, ", ".join(clock.said for clock in clocks))


def _learn(
    model: TwoTower,
    config: TrainerConfig,
    data: TrainData,
    worker: Worker,
    device: Device,
    aligned: bool,
    with_eval: bool = False,
) -> Source:
    """Give a model what is known of the ratings and not trained, and return the rows to train on.

    Args:
      model: The model.
      config: Trainer configuration.
      data: What to train on.
      worker: The worker.
      device: What trains.
      aligned: Whether the model's factors mean something already, which new ones have to agree with.
      with_eval: Whether the eval ratings are trained on, too.
    """
    table = data.all_histories if with_eval else data.histories
    factors, residuals, averages = None, None, MovieAverages.fit(table)
    if config.retrieval_weight:
        near = np.asarray(model.movie_tower.factors) if aligned else None
        factors = co_ratings.fit(table, config.co_rating_dim, near)
        residuals = residual_factors.fit(table, averages)
    model.learn_movies(data.genres, averages.of_movies, table.likes, factors, residuals)
    if config.retrieval_weight and not aligned:
        model.user_tower.user_variance.assign(user_variance.fit(model, data.ranking, data.inputs))
    source = training_source(config, data, worker, device, averages, factors, with_eval)
    source.give(model)
    return source


def _rounds(steps: int, source: Source, round_steps: int) -> tuple[int, int]:
    """Divide steps into rounds; return how many, and how many calls each has."""
    calls = -(-round_steps // source.steps_per_call)
    return -(-steps // (calls * source.steps_per_call)), calls


def _progress(stage: str, source: Source, worker: Worker) -> list[keras.callbacks.Callback]:
    return [StepProgress(stage, source.steps_per_call)] if worker.is_chief else []


def _compile(model: TwoTower, config: TrainerConfig, device: Device) -> None:
    momentum = config.ema_momentum
    optimizer = FusedAdam(config.learning_rate, use_ema=bool(momentum), ema_momentum=momentum or None)
    optimizer.build(model.trainable_variables)
    metrics = [keras.metrics.MeanSquaredError(name=keys.MSE)]
    model.compile(optimizer=optimizer, metrics=metrics, jit_compile=device.compiles)


def _averaging(config: TrainerConfig) -> list[keras.callbacks.Callback]:
    """Put the averaged weights in at the end of an epoch; the first callback, so that the others see them."""
    return [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if config.ema_momentum else []


def _early_stopping(
    config: TrainerConfig, data: TrainData, patience: int, first: int, weighs: bool
) -> list[keras.callbacks.Callback]:
    """Stop by ranking and rating error; by the loss where nothing is ranked for, or nothing else is trained."""
    ranking = RankingMetrics(data.ranking, data.inputs, config, weighs) if config.retrieval_weight else None
    if ranking is None or not ranking.has_users:
        return [keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True)]
    at_last = keras.callbacks.LambdaCallback(on_train_end=ranking.weigh_kept)
    return [ranking, BestOfBoth(patience, first), at_last]


def _outside_strategy(model: TwoTower) -> TwoTower:
    """Copy a model, out of its strategy: to save one of several workers' variables, all would have to take part."""
    copy = TwoTower(model.config, model.vocabulary_size, model.domain, name=_NAME)
    copy.set_weights(model.get_weights())
    return copy

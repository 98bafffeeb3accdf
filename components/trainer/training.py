"""Training: the two towers until they rank no better, then a little on all ratings."""

from __future__ import annotations

import dataclasses
import importlib.util

import keras
import numpy as np
import tensorflow as tf

from components import progress
from components.trainer import co_ratings
from components.trainer.co_ratings import CoRatings
from components.trainer.config import TrainerConfig
from components.trainer.input import batches, movie_columns
from components.trainer.losses import Negatives
from components.trainer.movie_averages import MovieAverages
from components.trainer.multi_worker import MultiWorkerTwoTower, Worker, this_worker
from components.trainer.ranking import RankingMetrics
from components.trainer.towers import RATING
from components.trainer.train_data import TrainData
from components.trainer.two_tower import TwoTower
from schemas import keys

_NAME = "two_tower"
_PROGRESS_STEPS = 20
_NOTABLE_NDCG, _NOTABLE_ERROR = 0.005, 0.02
"""Parts by which NDCG@10 must rise or the squared error fall to count as better; of the RMSE it is half of that."""


class StepProgress(keras.callbacks.Callback):
    """Reports steps and losses; of all epochs, though training may stop before."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage, self._pending, self._note = stage, 0, ""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Report every few steps: more would slow the training down."""
        self._pending += 1
        if self._pending >= _PROGRESS_STEPS:
            self._flush()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Report the epoch's losses."""
        logs, shown = logs or {}, {"loss": "loss", "val_loss": "eval loss", keys.VAL_NDCG: "NDCG@10"}
        numbers = [f"{title} {logs[name]:.4f}" for name, title in shown.items() if name in logs]
        self._note = ", ".join([f"epoch {epoch + 1}/{self.params['epochs']}", *numbers])
        self._flush()

    def _flush(self) -> None:
        steps = self.params["steps"]
        total = steps and steps * self.params["epochs"]
        progress.advance(self._stage, self._pending, "steps", total, self._note)
        self._pending = 0


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training gives."""

    evaluated: TwoTower
    """The model of the best epochs, of ranking and rating each, which has seen no eval rating."""
    published: TwoTower
    """The same after `refit_epochs` over all ratings."""
    history: dict[str, list[float]]
    """Losses and metrics per epoch, until the best ones and `patience` more."""


def compiled_model(config: TrainerConfig, data: TrainData, cls: type[TwoTower] = TwoTower) -> TwoTower:
    """Build the untrained model, ready for `fit`."""
    model = cls(config, len(data.vocabulary), data.domain, name=_NAME)
    model.negatives = Negatives(
        movie_columns(data.ranking.catalog, data.transform), config.negatives, config.uniform_share
    )
    _compile(model, config)
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
) -> Trained:
    """Train a model on the train ratings until eval users are ranked for no better, then a little on all ratings.

    Of several workers each trains on its own shards, over and over, so that all take as many steps; and each evaluates
    all eval shards, so that all stop at the same epoch.

    Args:
      config: Trainer configuration.
      data: What to train on.
      log_dir: Where TensorBoard's logs go, if TensorBoard is installed.
      strategy: Of the configuration, made already.

    Raises:
      ValueError: There are fewer shards than workers, or fewer train rows than a batch has.
    """
    strategy = strategy or get_strategy(config.strategy)
    worker = this_worker(strategy)
    # Before the input is built: tf.data mixes the global seed into its own.
    keras.utils.set_random_seed(config.seed)
    factors = co_ratings.fit(data.histories, config.co_rating_dim) if config.retrieval_weight else None
    averages = MovieAverages.fit(data.histories)
    train_data, steps = train_batches(config, data, worker, averages, factors)
    eval_data = batches(data.eval_files, data.transform, data.histories, config.batch_size_of(data.train_rows))
    if worker.count > 1:
        eval_data = _unsharded(eval_data)
    with strategy.scope():
        model = compiled_model(config, data, MultiWorkerTwoTower if worker.count > 1 else TwoTower)
        model.learn_movies(data.genres, averages.of_movies, data.histories.likes, factors)
    callbacks = _averaging(config) + _early_stopping(config, data)
    if worker.is_chief:
        callbacks.append(StepProgress("train"))
        if log_dir and importlib.util.find_spec("tensorboard"):
            callbacks.append(keras.callbacks.TensorBoard(log_dir, write_graph=False))
    history = model.fit(
        train_data,
        validation_data=eval_data,
        epochs=config.epochs,
        steps_per_epoch=steps if worker.count > 1 else None,
        callbacks=callbacks,
        verbose=0,
    )
    published = evaluated = _outside_strategy(model, eval_data)
    if config.refit_epochs:
        if factors:
            factors = co_ratings.fit(data.all_histories, config.co_rating_dim).aligned_with(factors)
        averages = MovieAverages.fit(data.all_histories)
        train_data, steps = train_batches(config, data, worker, averages, factors, with_eval=True)
        with strategy.scope():
            model.learn_movies(data.genres, averages.of_movies, data.all_histories.likes, factors)
            _compile(model, config)
        model.fit(
            train_data,
            epochs=config.refit_epochs,
            steps_per_epoch=steps if worker.count > 1 else None,
            callbacks=[
                *_averaging(config),
                KeepRanking(config.ranking_refit_epochs),
                *([StepProgress("refit")] if worker.is_chief else []),
            ],
            verbose=0,
        )
        published = _outside_strategy(model, eval_data)
    return Trained(evaluated, published, {name: [float(x) for x in values] for name, values in history.history.items()})


def train_batches(
    config: TrainerConfig,
    data: TrainData,
    worker: Worker,
    averages: MovieAverages,
    factors: CoRatings | None = None,
    with_eval: bool = False,
) -> tuple[tf.data.Dataset, int | None]:
    """Return a worker's batches, and how many steps an epoch has, if that is known.

    Args:
      config: Trainer configuration.
      data: What to train on.
      worker: The worker.
      averages: Of the ratings that are trained on.
      factors: Of co-ratings, of the ratings that are trained on.
      with_eval: Whether the eval ratings are trained on, too.

    Raises:
      ValueError: There are fewer shards than workers, or fewer rows than a batch has.
    """
    files, rows, table = data.train_files, data.train_rows, data.histories
    if with_eval:
        files, table = [*files, *data.eval_files], data.all_histories
        rows = None if rows is None or data.eval_rows is None else rows + data.eval_rows
    batch_size = config.batch_size_of(data.train_rows)
    steps = None if rows is None else rows // batch_size
    if steps == 0:
        raise ValueError(f"batch_size is {batch_size}, more than the {rows} train ratings; choose a smaller one")
    thinning = data.thinning(config.thinned_share) if config.thinned_share else None
    found = batches(
        files,
        data.transform,
        table,
        batch_size,
        config.shuffle_rows,
        config.seed,
        worker,
        thinning,
        factors,
        averages,
    )
    if worker.count > 1:
        return _unsharded(found), steps
    # Where it must look for the end, Keras 3.12 counts one batch too many into the means of loss and metrics.
    return found.apply(tf.data.experimental.assert_cardinality(steps)) if steps else found, steps


def _compile(model: TwoTower, config: TrainerConfig) -> None:
    momentum = config.ema_momentum
    optimizer = keras.optimizers.Adam(config.learning_rate, use_ema=bool(momentum), ema_momentum=momentum or None)
    # XLA on a CPU takes a third longer a step (docs/quality.md), and fifteen seconds to compile.
    model.compile(optimizer=optimizer, metrics=[keras.metrics.MeanSquaredError(name="mse")], jit_compile=False)


def _averaging(config: TrainerConfig) -> list[keras.callbacks.Callback]:
    """Put the averaged weights in at the end of an epoch; the first callback, so that the others see them."""
    return [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if config.ema_momentum else []


def _early_stopping(config: TrainerConfig, data: TrainData) -> list[keras.callbacks.Callback]:
    """Stop by ranking and rating error; by the loss where nothing is ranked for, or nothing else is trained."""
    ranking = RankingMetrics(data.ranking, data.inputs) if config.retrieval_weight else None
    if ranking is None or not ranking.has_users:
        return [keras.callbacks.EarlyStopping("val_loss", patience=config.patience, restore_best_weights=True)]
    return [ranking, BestOfBoth(config.patience)]


class BestOfBoth(keras.callbacks.Callback):
    """Keeps the best ranking perceptrons and the best rating perceptrons, which share nothing, each of its own epoch.

    Either is done when it has not become notably better for some epochs, and training stops when both are. What is a
    little better much later is noise: it has learned the users by heart, and makes worse lists for new ones.
    """

    def __init__(self, patience: int) -> None:
        """Wait for so many epochs."""
        super().__init__()
        self._patience = patience

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Begin anew."""
        weights = self.model.get_weights()
        self._ranking = _Best(keys.VAL_NDCG, 1 + _NOTABLE_NDCG, weights)
        self._rating = _Best(keys.VAL_MSE, 1 - _NOTABLE_ERROR, weights)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Look whether either is better than before."""
        waiting = [best.wait(epoch, logs or {}, self.model, self._patience) for best in (self._ranking, self._rating)]
        self.model.stop_training = not any(waiting)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Put both together."""
        _join(self.model, self._ranking.weights, self._rating.weights)


class KeepRanking(keras.callbacks.Callback):
    """Keeps the ranking perceptrons of an epoch, and the rating perceptrons of the last one."""

    def __init__(self, epochs: int) -> None:
        """Keep them as they are after so many epochs."""
        super().__init__()
        self._epochs = epochs
        self._weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Keep them as they are before training, if no epoch is for them."""
        self._weights = None if self._epochs else self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Keep them if it is their epoch."""
        if epoch + 1 == self._epochs:
            self._weights = self.model.get_weights()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Put them back."""
        if self._weights is not None:
            _join(self.model, self._weights, self.model.get_weights())


def _join(model: keras.Model, ranking: list[np.ndarray], rating: list[np.ndarray]) -> None:
    """Give a model the rating perceptrons of one state and all else of another one."""
    triples = zip(model.weights, ranking, rating, strict=True)
    model.set_weights([late if RATING in weight.path else early for weight, early, late in triples])


@dataclasses.dataclass
class _Best:
    """The best epoch of one part so far."""

    metric: str
    notable: float
    """Factor by which the metric must at least change, for the better."""
    weights: list[np.ndarray]
    value: float | None = None
    epoch: int = 0

    def wait(self, epoch: int, logs: dict[str, float], model: keras.Model, patience: int) -> bool:
        """Take the epoch if it is notably better and not too late; return whether there may be a better one yet."""
        if self.value is not None and epoch - self.epoch > patience:
            return False
        found = logs[self.metric]
        if self.value is None or (found - self.value * self.notable) * (self.notable - 1) > 0:
            self.value, self.weights, self.epoch = found, model.get_weights(), epoch
        return epoch - self.epoch < patience


def _unsharded(data: tf.data.Dataset) -> tf.data.Dataset:
    """Keep tf.distribute from sharding what is sharded by file, or not to be sharded, already."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return data.with_options(options)


def _outside_strategy(model: TwoTower, data: tf.data.Dataset) -> TwoTower:
    """Copy a model, out of its strategy: to save one of several workers' variables, all would have to take part."""
    copy = TwoTower(model.config, model.vocabulary_size, model.domain, name=_NAME)
    inputs, _ = data.element_spec
    copy({name: tf.zeros([1, spec.shape[1] or 1], spec.dtype) for name, spec in inputs.items()})
    copy.set_weights(model.get_weights())
    return copy

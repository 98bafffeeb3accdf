"""What watches a training: its progress and its time, and the best ranking and rating perceptrons so far."""

from __future__ import annotations

import dataclasses
import time

import keras
import numpy as np

from components import progress
from components.trainer.towers import RATING
from schemas import keys

_PROGRESS_STEPS = 20
_NOTABLE_NDCG, _NOTABLE_ERROR = 0.01, 0.02
"""Parts by which NDCG@10 must rise or the squared error fall to count as better; of the RMSE it is half of that."""


class StepProgress(keras.callbacks.Callback):
    """Reports steps and losses; of all rounds, though training may stop before."""

    def __init__(self, stage: str, steps_per_call: int) -> None:
        super().__init__()
        self._stage, self._steps_per_call, self._pending, self._note = stage, steps_per_call, 0, ""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Report every few steps: more would slow the training down."""
        self._pending += self._steps_per_call
        if self._pending >= _PROGRESS_STEPS:
            self._flush()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Report the round's losses."""
        logs, shown = logs or {}, {"loss": "loss", "val_loss": "eval loss", keys.VAL_NDCG: "NDCG@10"}
        self._note = ", ".join(f"{title} {logs[name]:.4f}" for name, title in shown.items() if name in logs)
        self._flush()

    def _flush(self) -> None:
        total = self.params["steps"] * self.params["epochs"] * self._steps_per_call
        progress.advance(self._stage, self._pending, "steps", total, self._note)
        self._pending = 0


class Clock(keras.callbacks.Callback):
    """Counts steps, adds them and the seconds to a round's logs, and ends training when its time is over."""

    def __init__(self, stage: str, begin: float, steps_per_call: int, limit_s: float) -> None:
        super().__init__()
        self._stage, self._begin, self._steps_per_call, self._limit_s = stage, begin, steps_per_call, limit_s
        self._steps, self._out_of_time = 0, False

    @property
    def said(self) -> str:
        """How training ended."""
        return f"{self._stage} {self._steps:,} steps" + (", out of time" if self._out_of_time else "")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look at the clock."""
        self._steps += self._steps_per_call
        if self._seconds > self._limit_s:
            self.model.stop_training = self._out_of_time = True

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Tell those behind this one."""
        if logs is not None:
            logs |= {keys.STEPS: self._steps, keys.SECONDS: self._seconds}

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._begin


class BestOfBoth(keras.callbacks.Callback):
    """Keeps the best ranking perceptrons and the best rating perceptrons, which share nothing, each of its own epoch.

    Either is done when it has not become notably better for some epochs, and training stops when both are. What is a
    little better much later is noise: it has learned the users by heart, and makes worse lists for new ones. But in the
    first pass over the rows nothing is learned by heart: it is not left before its end, and what is the least better in
    it is kept.
    """

    def __init__(self, patience: int, first: int = 0) -> None:
        """Wait for so many epochs.

        Args:
          patience: How many.
          first: Epochs that are over before any row comes again, and that training has at least.
        """
        super().__init__()
        self._patience, self._first = patience, first

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Begin anew."""
        weights = self.model.get_weights()
        self._ranking = _Best(keys.VAL_NDCG, 1 + _NOTABLE_NDCG, self._first, weights)
        self._rating = _Best(keys.VAL_MSE, 1 - _NOTABLE_ERROR, self._first, weights)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Look whether either is better than before."""
        waiting = [best.wait(epoch, logs or {}, self.model, self._patience) for best in (self._ranking, self._rating)]
        if not any(waiting):
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        """Put both together."""
        _join(self.model, self._ranking.weights, self._rating.weights)


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
    first: int
    """Epochs that there are at least, of which whatever is better is kept."""
    weights: list[np.ndarray]
    kept: float | None = None
    """The metric of the weights."""
    value: float | None = None
    """That of the last notable change, and its epoch."""
    epoch: int = 0

    def wait(self, epoch: int, logs: dict[str, float], model: keras.Model, patience: int) -> bool:
        """Take the epoch if it is better and not too late; return whether there may be a notably better one yet."""
        if epoch >= self.first and epoch - self.epoch > patience:
            return False
        found = logs[self.metric]
        if self._is_better(found, self.value, self.notable):
            self.value, self.epoch = found, epoch
        if self._is_better(found, self.kept, 1.0 if epoch < self.first else self.notable):
            self.kept, self.weights = found, model.get_weights()
        return epoch + 1 < self.first or epoch - self.epoch < patience

    def _is_better(self, found: float, than: float | None, factor: float) -> bool:
        return than is None or (found - than * factor) * (self.notable - 1) > 0

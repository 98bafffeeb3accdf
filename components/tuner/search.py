"""The search for hyperparameters."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras_tuner as kt
from keras_tuner.engine import base_tuner, trial

from components import progress
from components.trainer.config import TrainerConfig
from components.trainer.train_data import TrainData
from components.trainer.training import train
from schemas import configuration, keys

_RANDOM_TRIALS = 5
"""Trials before the Gaussian process has seen enough to propose one."""


def search_space(config: TrainerConfig) -> kt.HyperParameters:
    """Return what is searched, around a configuration, whose values are the defaults."""
    space = kt.HyperParameters()
    space.Float("learning_rate", 2e-4, 5e-3, sampling="log", default=config.learning_rate)
    space.Float("dropout", 0.0, 0.5, default=config.dropout)
    if config.retrieval_weight:
        space.Float("temperature", 0.02, 0.2, sampling="log", default=config.temperature)
        space.Float("unliked_share", 0.0, 1.0, default=config.unliked_share)
        if config.id_dim:
            space.Float("id_dropout", 0.0, 0.8, default=config.id_dropout)
    return space


class GivenFirst(kt.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation whose first trial is the given configuration: what is found is never worse on eval."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the next trial."""
        if len(self.trials) > 0:
            return super().populate_space(trial_id)
        values = {parameter.name: parameter.default for parameter in self.hyperparameters.space}
        return {"status": trial.TrialStatus.RUNNING, "values": values}


class Search(base_tuner.BaseTuner):
    """Trains a configuration a trial and looks at how it ranks for eval users, or at the eval loss if it cannot."""

    def __init__(self, config: TrainerConfig, trials: int, directory: str) -> None:
        """Prepare a search.

        Args:
          config: What to start from.
          trials: How many configurations are trained, at least 1.
          directory: Where the trials are recorded.
        """
        self._config, self._trials, self._done = config, trials, 0
        self._metric = keys.VAL_NDCG if config.retrieval_weight else "val_loss"
        self._best = max if config.retrieval_weight else min
        oracle = GivenFirst(
            kt.Objective(self._metric, self._best.__name__),
            trials,
            num_initial_points=_RANDOM_TRIALS,
            hyperparameters=search_space(config),
            allow_new_entries=False,
            tune_new_entries=False,
            seed=config.seed + 1,  # 0 would be drawn at random.
        )
        super().__init__(oracle, directory=directory, project_name="matinee", overwrite=True)

    def run_trial(self, trial: trial.Trial, data: TrainData) -> dict[str, float]:
        """Train a configuration; its best epoch counts."""
        config = configuration.replace(self._config, trial.hyperparameters.values)
        try:
            history = train(dataclasses.replace(config, refit_epochs=0), data).history
        except Exception as error:  # KerasTuner would note it down and go on with the next one.
            raise kt.errors.FatalError(f"trial {self._done + 1} of {self._trials}: {error}") from error
        if self._metric not in history:
            raise kt.errors.FatalError("no user liked a movie in eval, so that nothing tells configurations apart")
        self._done += 1
        found = self._best(history[self._metric])
        progress.advance("tune", 1, "trials", note=f"{self._done}/{self._trials}, {self._metric} {found:.4f}")
        return {self._metric: found}

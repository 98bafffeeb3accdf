"""The search for hyperparameters."""

import dataclasses
import types

import pytest

from components.trainer.config import TrainerConfig
from components.trainer.run_fn import CONFIG, with_hyperparameters
from components.trainer.training import train
from components.tuner.search import Search, search_space
from components.tuner.tuner_fn import tuner_fn
from schemas import keys
from schemas.configuration import to_json

GIVEN = TrainerConfig(
    hidden_units=(8,), embedding_dim=4, id_dim=4, batch_size=100, epochs=2, learning_rate=0.01, negatives=20
)


def run(config, data, directory, trials=3):
    search = Search(config, trials, str(directory))
    search.search(data=data)
    return search


@pytest.mark.slow
def test_the_given_configuration_is_the_first_trial_and_the_best_one_wins(train_data, tmp_path):
    search = run(GIVEN, train_data, tmp_path)
    first, *others = sorted(search.oracle.trials.values(), key=lambda trial: int(trial.trial_id))
    assert len(others) == 2
    assert with_hyperparameters(GIVEN, first.hyperparameters.get_config()) == GIVEN
    history = train(dataclasses.replace(GIVEN, refit_epochs=0), train_data).history
    assert first.score == pytest.approx(max(history[keys.VAL_NDCG]), abs=1e-6)
    found = with_hyperparameters(GIVEN, search.get_best_hyperparameters()[0].get_config())
    best = max((first, *others), key=lambda trial: trial.score)
    assert found.learning_rate == best.hyperparameters.get("learning_rate")
    assert found.refit_epochs == GIVEN.refit_epochs, "what is not searched stays"
    assert len({trial.hyperparameters.get("learning_rate") for trial in (first, *others)}) == 3


@pytest.mark.slow
def test_without_the_softmax_the_loss_decides_and_its_settings_are_not_searched(train_data, tmp_path):
    config = dataclasses.replace(GIVEN, retrieval_weight=0.0)
    assert set(search_space(config).values) == {"learning_rate", "dropout"}
    search = run(config, train_data, tmp_path, trials=2)
    scores = [trial.score for trial in search.oracle.trials.values()]
    assert search.oracle.get_best_trials()[0].score == min(scores)


def test_a_trial_that_fails_ends_the_search(train_data, tmp_path):
    with pytest.raises(Exception, match="trial 1 of 3: batch_size is 9999, more than the 600 train ratings"):
        run(dataclasses.replace(GIVEN, batch_size=9999), dataclasses.replace(train_data, train_rows=600), tmp_path)


def test_several_machines_are_refused(tmp_path):
    config = to_json(dataclasses.replace(GIVEN, strategy="multi_worker"))
    with pytest.raises(ValueError, match="--strategy none or mirrored"):
        tuner_fn(types.SimpleNamespace(custom_config={CONFIG: config}))

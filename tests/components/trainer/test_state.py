"""What a later training goes on from."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer import continuation, state
from components.trainer.config import TrainerConfig
from components.trainer.export import export_model
from components.trainer.state import TrainingState
from components.trainer.train_data import load_data
from components.trainer.training import train
from schemas import features as f
from schemas.configuration import from_json, to_json
from tests.exported import analyse

CONFIG = TrainerConfig(
    hidden_units=(16,), embedding_dim=8, batch_size=100, epochs=3, patience=3, refit_epochs=1, eval_steps=6
)


@pytest.fixture(scope="module")
def graph(transform):
    """The directory of the transform graph."""
    return str(pathlib.Path(transform.transform_savedmodel_dir).parent)


@pytest.fixture(scope="module")
def base(train_data, graph, tmp_path_factory):
    """A trained model that knows half of the movies, and its model in memory."""
    known = dataclasses.replace(train_data, vocabulary=train_data.vocabulary[:40])
    directory = str(tmp_path_factory.mktemp("base"))
    inputs = type(train_data.inputs)(tft.TFTransformOutput(graph), known.vocabulary)
    known = dataclasses.replace(known, inputs=inputs, **histories_in(train_data, known.vocabulary))
    trained = train(CONFIG, known)
    export_model(trained.evaluated, inputs, directory)
    state.write(directory, continuation.state_of(CONFIG, known, None, graph), graph)
    return state.read(directory), trained.evaluated


def histories_in(data, vocabulary):
    """Both tables of histories in another vocabulary."""
    places = {movie: place for place, movie in enumerate(vocabulary.tolist(), 1)}

    def of(table):
        ids = np.append(-1, table.vocabulary)[table.movies]
        movies = np.array([places.get(int(movie), 0) for movie in ids], np.int32)
        return dataclasses.replace(table, movies=movies, vocabulary=vocabulary)

    return {"histories": of(data.histories), "load_all": lambda: of(data.all_histories)}


def test_a_state_says_what_the_weights_mean(base, train_data):
    found, _ = base
    assert found.state.vocabulary == tuple(train_data.vocabulary[:40].tolist())
    assert found.state.latest_s == train_data.ranking.constants.latest_s
    assert (found.state.continued, found.state.due, found.state.new_movies) == (0, "", 0)
    assert not found.state.misfit(CONFIG)
    assert found.state.misfit(dataclasses.replace(CONFIG, id_dim=7)) == "id_dim was 32 and is 7"
    assert "retrieval_weight" in found.state.misfit(dataclasses.replace(CONFIG, retrieval_weight=0.0))
    assert not found.state.misfit(dataclasses.replace(CONFIG, learning_rate=0.1))


def test_a_model_without_a_state_has_none(tmp_path):
    assert state.read(str(tmp_path)) is None


def test_new_movies_come_behind_and_begin_as_the_unknown_one(base, train_data, shards, graph, tables):
    found, model = base
    data = load_data([shards], [shards], tft.TFTransformOutput(found.transform_dir), *tables, 600, 600, found)
    assert data.vocabulary[:40].tolist() == list(found.state.vocabulary)
    assert sorted(data.vocabulary.tolist()) == sorted(train_data.vocabulary.tolist())
    # Which numbers a checkpoint gives its variables must not depend on what may differ.
    grown = type(model)(dataclasses.replace(CONFIG, dropout=0.0), len(data.vocabulary), data.domain)
    found.give_weights(grown)
    for tower in ("user_tower", "movie_tower"):
        old, new = (np.asarray(getattr(one, tower).ids.embeddings) for one in (model, grown))
        np.testing.assert_array_equal(new[:41], old)
        assert (new[41:] == old[0]).all()
    users = data.inputs({k: tf.constant(v) for k, v in data.ranking.user_tower_inputs(slice(None)).items()})
    known = np.asarray(users[f.USER_HISTORY_TOKENS]) <= 40
    users = users | {f.USER_HISTORY_RATINGS: tf.where(known, users[f.USER_HISTORY_RATINGS], 0.0)}
    users = users | {f.USER_HISTORY_TOKENS: tf.where(known, users[f.USER_HISTORY_TOKENS], 0)}
    for name, value in grown.user_tower(users).items():
        np.testing.assert_allclose(value, model.user_tower(users)[name], atol=1e-5)


@pytest.mark.slow
def test_training_goes_on_for_a_few_steps_and_says_when_one_from_the_start_is_due(base, shards, graph, tables):
    found, _ = base
    data = load_data([shards], [shards], tft.TFTransformOutput(found.transform_dir), *tables, 600, 600, found)
    config = dataclasses.replace(CONFIG, epochs=50, continue_steps=12)
    continued = train(config, data, base=found)
    assert continued.said == "train 12 steps, refit 12 steps"
    now = continuation.state_of(config, data, found, graph)
    assert (now.continued, now.trained_s, now.new_movies) == (1, found.state.trained_s, len(data.vocabulary) - 40)
    assert now.due.endswith("of the train ratings are of movies that came after the last one")
    again = dataclasses.replace(found, state=now)
    calm = dataclasses.replace(config, max_new_movie_share=1.0)
    assert continuation.state_of(calm, data, again, graph).due == "", "the same ratings: nothing has drifted"
    strict = dataclasses.replace(calm, max_drift=1e-9)
    assert continuation.state_of(strict, data, again, graph).due == ""


def test_what_has_drifted_is_named(base, train_data, graph, raw, tmp_path):
    found, _ = base
    shifted = raw | {f.MOVIE_YEAR: raw[f.MOVIE_YEAR] + 100}
    rows = [{name: value[i] for name, value in shifted.items()} for i in range(600)]
    analyse(rows, tmp_path)
    config = dataclasses.replace(CONFIG, max_new_movie_share=1.0)
    assert "movie_year has drifted by" in continuation.state_of(config, train_data, found, str(tmp_path)).due


def test_other_categories_cannot_go_on(base, shards, tables):
    found, _ = base
    domain = dataclasses.replace(found.state.domain, categories=("a", "b"))
    other = dataclasses.replace(found, state=dataclasses.replace(found.state, domain=domain))
    with pytest.raises(ValueError, match="run without --warm-start"):
        load_data([shards], [shards], tft.TFTransformOutput(found.transform_dir), *tables, 600, 600, other)


def test_the_state_travels_as_json(base):
    found, _ = base
    assert from_json(TrainingState, to_json(found.state)) == found.state

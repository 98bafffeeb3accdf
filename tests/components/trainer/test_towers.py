import keras
import numpy as np
import pytest

from components.trainer.losses import in_batch_softmax
from components.trainer.towers import MovieTower, TwoTower, UserTower
from schemas import features as f

WIDTHS = {**f.USER_FEATURES, **f.MOVIE_FEATURES, f.USER_GENRE_SHARE: 20, f.USER_GENRE_PREFERENCE: 20}


def batch(rows=12, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {
        name: rng.normal(size=(rows, WIDTHS.get(name, 1))).astype(np.float32) for name in f.USER_INPUTS + f.MOVIE_INPUTS
    }
    inputs[f.MOVIE_ID] = rng.integers(0, 5, (rows, 1))
    inputs[f.MOVIE_LOG_COUNT] = rng.random((rows, 1)).astype(np.float32)
    return inputs, rng.uniform(-1, 1, (rows, 1)).astype(np.float32)


def model(**kwargs):
    keras.utils.set_random_seed(1)
    return TwoTower(UserTower((16, 8), 4), MovieTower((16,), 4), **kwargs)


@pytest.mark.parametrize("tower", [UserTower, MovieTower])
def test_embeddings_are_unit_vectors(tower):
    embedding = np.asarray(tower((16, 8), 4)(batch()[0]))
    assert embedding.shape == (12, 4)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_the_score_is_the_cosine():
    outputs = model()(batch()[0])
    cosine = np.sum(np.asarray(outputs["user_embedding"]) * np.asarray(outputs["movie_embedding"]), axis=1)
    np.testing.assert_allclose(np.asarray(outputs["cosine"])[:, 0], cosine, atol=1e-6)


@pytest.mark.parametrize("tower", [UserTower, MovieTower])
def test_a_tower_round_trips_through_its_config(tower):
    original = tower((16, 8), 4, dropout=0.1, l2=0.01, name="t")
    config = original.get_config()
    assert tower.from_config(config).get_config() == config
    assert config["hidden_units"] == [16, 8]
    assert config["dropout"] == 0.1


def test_a_saved_model_gives_identical_outputs(tmp_path):
    inputs, _ = batch()
    original = model(retrieval_weight=0.3, temperature=0.1, liking_power=2.0)
    expected = original(inputs)
    original.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    before, after = original.get_config(), restored.get_config()
    for key in ("user_tower", "movie_tower"):
        assert after.pop(key)["config"] == before.pop(key)["config"]
    assert after == before
    for name, value in restored(inputs).items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(expected[name]))


def test_without_retrieval_weight_the_loss_is_the_squared_error():
    inputs, label = batch()
    plain = model(retrieval_weight=0.0)
    outputs = plain(inputs)
    expected = np.mean((np.asarray(outputs["cosine"]) - label) ** 2)
    assert float(plain.compute_loss(inputs, label, outputs)) == pytest.approx(expected, rel=1e-6)


def test_the_mixed_loss_adds_the_weighted_softmax():
    inputs, label = batch()
    mixed = model(retrieval_weight=0.25, temperature=0.2, liking_power=3.0)
    outputs = mixed(inputs)
    softmax = in_batch_softmax(
        outputs["user_embedding"],
        outputs["movie_embedding"],
        inputs[f.MOVIE_ID][:, 0],
        inputs[f.MOVIE_LOG_COUNT][:, 0],
        ((label + 1) / 2)[:, 0] ** 3,
        0.2,
    )
    expected = np.mean((np.asarray(outputs["cosine"]) - label) ** 2) + 0.25 * float(softmax)
    assert float(mixed.compute_loss(inputs, label, outputs)) == pytest.approx(expected, rel=1e-5)


def test_a_penalty_on_the_weights_is_part_of_the_loss():
    inputs, label = batch()
    keras.utils.set_random_seed(1)
    penalised = TwoTower(UserTower((16,), 4, l2=0.1), MovieTower((16,), 4, l2=0.1))
    outputs = penalised(inputs)
    kernels = [w for w in penalised.trainable_variables if w.name == "kernel"]
    expected = np.mean((np.asarray(outputs["cosine"]) - label) ** 2) + 0.1 * sum(
        np.sum(np.asarray(w) ** 2) for w in kernels
    )
    assert float(penalised.compute_loss(inputs, label, outputs)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UserTower((16, 0)), "widths must be 1 or more"),
        (lambda: TwoTower(UserTower((8,), 4), MovieTower((8,), 5)), "embedding_dim differs: 4 and 5"),
        (lambda: model(temperature=0.0), "temperature > 0"),
    ],
)
def test_impossible_models(build, message):
    with pytest.raises(ValueError, match=message):
        build()

"""Every signature through the session loader, which is what TensorFlow Serving's C++ loader does."""

import dataclasses
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.pusher import warmup
from components.trainer.config import TrainerConfig
from components.trainer.export import export_model, export_user_tower
from components.trainer.tower_inputs import TowerInputs
from components.trainer.two_tower import TwoTower
from schemas import features as f
from schemas import numpy_tower
from schemas import signatures as s
from schemas.data_spec import movielens
from schemas.manifest import USER_TOWER_FILE


@pytest.fixture(scope="module")
def history():
    """Users' latest movies, some of them unknown, and where there is none."""
    rng = np.random.default_rng(3)
    stars = (rng.integers(0, 11, (600, 7)) / 2).astype(np.float32)
    return {f.USER_HISTORY_MOVIES: rng.integers(0, 100, (600, 7)), f.USER_HISTORY_RATINGS: stars}


@pytest.fixture(scope="module")
def user(raw, history):
    """What the exported user tower takes."""
    return {name: {**raw, **history}[name] for name in f.USER_TOWER_INPUTS}


@pytest.fixture(scope="module")
def exported(transform, raw, history, tmp_path_factory):
    """The model in memory, its directories and what it answers."""
    keras.utils.set_random_seed(5)
    vocabulary = np.random.default_rng(0).permutation(80)[:60]
    model = TwoTower(
        TrainerConfig(hidden_units=(16,), embedding_dim=8, id_dim=4, dropout=0), len(vocabulary), movielens()
    )
    features = transform.transform_features_layer()({name: raw[name] for name in raw if name != f.USER_ID})
    names = vocabulary.tolist()
    token = np.vectorize(lambda movie: 1 + names.index(movie) if movie in names else 0)
    history[f.USER_HISTORY_TOKENS] = token(history[f.USER_HISTORY_MOVIES])
    expected = model({**features, **history, f.MOVIE_TOKEN: token(raw[f.MOVIE_ID])})
    inputs = TowerInputs(transform, vocabulary)
    root = tmp_path_factory.mktemp("export")
    export_model(model, inputs, str(root / "model"))
    export_user_tower(model, inputs, str(root / "tower"))
    return root, {name: value.numpy() for name, value in expected.items()}


def test_the_models_four_signatures(exported, raw, user, serialize, session_run):
    root, expected = exported
    movie = {name: raw[name] for name in (*f.MOVIE_FEATURES, f.MOVIE_ID)}
    examples = np.array([serialize({n: v[i] for n, v in {**user, **movie}.items()}) for i in range(600)], object)
    requests = {
        s.EMBED_USER: (user, [s.USER_EMBEDDING, s.USER_RATING_VECTOR]),
        s.EMBED_MOVIE: (movie, [s.MOVIE_EMBEDDING, s.MOVIE_RATING_VECTOR]),
        s.PREDICT: ({**user, **movie}, [s.COSINE, s.RATING]),
        s.SERVING_DEFAULT: ({s.EXAMPLES: examples}, [s.COSINE, s.RATING]),
    }
    expected = {**expected, s.RATING: f.to_stars(expected[s.SCALED_RATING])}
    for signature, (inputs, outputs) in requests.items():
        answer = session_run(root / "model", signature, inputs)
        assert set(answer) == set(outputs)
        for name, value in answer.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=f"{signature} {name}")


def test_the_user_tower_in_numpy_gives_the_same(exported, user, session_run):
    root, _ = exported
    tower = numpy_tower.load((root / USER_TOWER_FILE).read_bytes(), movielens())
    with zipfile.ZipFile(root / USER_TOWER_FILE) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}, "the time is none of it"
    assert numpy_tower.dump(tower) == (root / USER_TOWER_FILE).read_bytes()
    expected = session_run(root / "tower", s.EMBED_USER, user)
    found = tower.embed(user)
    for name, values in ((s.USER_EMBEDDING, found.embeddings), (s.USER_RATING_VECTOR, found.rating_vectors)):
        np.testing.assert_allclose(values, expected[name], atol=1e-6, err_msg=name)
        assert values.dtype == np.float32
    np.testing.assert_allclose(
        tower.embed({n: v[:1] for n, v in user.items()}).embeddings, found.embeddings[:1], atol=1e-6
    )


@pytest.mark.parametrize("variance", [0.0, -1.0, np.nan, np.zeros(2)])
def test_a_variance_that_is_none_is_refused(exported, variance):
    root, _ = exported
    tower = numpy_tower.load((root / USER_TOWER_FILE).read_bytes(), movielens())
    damaged = dataclasses.replace(tower, user_variance=np.asarray(variance, np.float32))
    with pytest.raises(ValueError, match="the user tower's weights do not fit: user_variance"):
        numpy_tower.load(numpy_tower.dump(damaged), movielens())


def test_the_user_towers_signatures(exported, user, session_run):
    root, expected = exported
    examples = np.array(warmup.to_examples(user), object)
    for signature, inputs in ((s.EMBED_USER, user), (s.SERVING_DEFAULT, {s.EXAMPLES: examples})):
        answer = session_run(root / "tower", signature, inputs)
        assert set(answer) == {s.USER_EMBEDDING, s.USER_RATING_VECTOR}
        for name, value in answer.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_an_example_without_history_is_a_user_without_one(exported, raw, user, session_run):
    root, _ = exported
    known = {name: raw[name] for name in (*f.USER_FEATURES, f.TIMESTAMP)}
    nothing = {f.USER_HISTORY_MOVIES: np.zeros((600, 0), np.int64), f.USER_HISTORY_RATINGS: np.zeros((600, 0))}
    expected = session_run(root / "tower", s.EMBED_USER, {**known, **nothing})
    answer = session_run(root / "tower", s.SERVING_DEFAULT, {s.EXAMPLES: np.array(warmup.to_examples(known), object)})
    np.testing.assert_allclose(answer[s.USER_EMBEDDING], expected[s.USER_EMBEDDING], atol=1e-5)


def test_only_weights_are_saved(exported):
    """No optimizer in either, no movie weights in the user tower.

    User: its inputs but the time's 33, and 23 of the history -> 16 -> 8 for the rating; its inputs and 3 + 4 * (64 + 4)
    of the history -> 16 -> 8 for the embedding; 4 of the id, 64 and 8 factors, average and 20 genres of each of the 60
    movies and the unknown one; the genres' shares, the weights of four parts, how users differ, the longest
    factors' length, and the state of the dropout's random generator.

    Movie: its inputs -> 16 -> 8, these and 64 + 4 -> 16 -> 8, the same of each movie but popularity for genres, the
    genres' shares, and the states of two random generators. The model has one more.
    """
    root, _ = exported
    sizes = {}
    for name in ("model", "tower"):
        reader = tf.train.load_checkpoint(str(root / name / "variables" / "variables"))
        shapes = reader.get_variable_to_shape_map()
        assert all(key.startswith(("model_variables", "_CHECKPOINTABLE")) for key in shapes)
        sizes[name] = sum(int(np.prod(shape)) for key, shape in shapes.items() if not key.startswith("_"))
    outer = 2 * (16 + 16 * 8 + 8) + 61 * (4 + 64 + 8 + 1) + 1
    user, movie = (sum(x.width(20) for x in f.FEATURES if x.side is side) for side in (f.Side.USER, f.Side.MOVIE))
    user_weights = (2 * user - 33 + 23 + 3 + 4 * (64 + 4)) * 16 + outer + 61 * 20 + 20 + 4 + 1 + 2
    movie_weights = (2 * movie + 64 + 4) * 16 + outer + 61 + 2 * 2 + 20
    assert sizes == {"model": user_weights + movie_weights + 2, "tower": user_weights}


def test_warm_up_requests_are_answered(exported, user, tmp_path, session_run):
    """TensorFlow Serving refuses to load a version whose warm-up requests fail."""
    from tensorflow_serving.apis import prediction_log_pb2

    root, expected = exported
    warmup.write(str(tmp_path), "user_tower", {name: value[:3] for name, value in user.items()})
    records = tf.data.TFRecordDataset(str(tmp_path / warmup.FILE)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    assert [request.model_spec.signature_name for request in requests] == [s.SERVING_DEFAULT, s.EMBED_USER]
    for request in requests:
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        answer = session_run(root / "tower", request.model_spec.signature_name, inputs)
        np.testing.assert_allclose(answer[s.USER_EMBEDDING], expected[s.USER_EMBEDDING][:3], atol=1e-5)

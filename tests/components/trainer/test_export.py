"""Every signature through the session loader, which is what TensorFlow Serving's C++ loader does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.pusher import warmup
from components.trainer.config import TrainerConfig
from components.trainer.export import export_model, export_user_tower
from components.trainer.trainer import build_model
from schemas import features as f
from schemas import signatures as s


@pytest.fixture(scope="module")
def exported(transform, raw, tmp_path_factory):
    """The model in memory, its directories and what it answers."""
    keras.utils.set_random_seed(5)
    model = build_model(TrainerConfig(hidden_units=(16,), embedding_dim=8, dropout=0))
    features = {name: value for name, value in raw.items() if name not in (f.USER_ID,)}
    expected = model(transform.transform_features_layer()(features))
    root = tmp_path_factory.mktemp("export")
    export_model(model, transform, str(root / "model"))
    export_user_tower(model, transform, str(root / "tower"))
    return root, {name: value.numpy() for name, value in expected.items()}


def test_the_models_four_signatures(exported, raw, serialize, session_run):
    root, expected = exported
    user = {name: raw[name] for name in f.USER_FEATURES}
    movie = {name: raw[name] for name in f.MOVIE_FEATURES}
    examples = np.array([serialize({n: v[i] for n, v in {**user, **movie}.items()}) for i in range(600)], object)
    requests = {
        s.EMBED_USER: (user, [s.USER_EMBEDDING]),
        s.EMBED_MOVIE: (movie, [s.MOVIE_EMBEDDING]),
        s.PREDICT: ({**user, **movie}, [s.COSINE, s.RATING]),
        s.SERVING_DEFAULT: ({s.EXAMPLES: examples}, [s.COSINE, s.RATING]),
    }
    expected = {**expected, s.RATING: f.to_stars(expected[s.COSINE])}
    for signature, (inputs, outputs) in requests.items():
        answer = session_run(root / "model", signature, inputs)
        assert set(answer) == set(outputs)
        for name, value in answer.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=f"{signature} {name}")


def test_the_user_towers_signatures(exported, raw, session_run):
    root, expected = exported
    user = {name: raw[name] for name in f.USER_FEATURES}
    examples = np.array(warmup.to_examples(user), object)
    for signature, inputs in ((s.EMBED_USER, user), (s.SERVING_DEFAULT, {s.EXAMPLES: examples})):
        answer = session_run(root / "tower", signature, inputs)
        assert set(answer) == {s.USER_EMBEDDING}
        np.testing.assert_allclose(answer[s.USER_EMBEDDING], expected[s.USER_EMBEDDING], atol=1e-5)


def test_only_weights_are_saved(exported):
    """No optimizer in either, no movie weights in the user tower: 82 -> 16 -> 8 and 23 -> 16 -> 8, with biases."""
    root, _ = exported
    sizes = {}
    for name in ("model", "tower"):
        reader = tf.train.load_checkpoint(str(root / name / "variables" / "variables"))
        shapes = reader.get_variable_to_shape_map()
        assert all(key.startswith(("model_variables", "_CHECKPOINTABLE")) for key in shapes)
        sizes[name] = sum(int(np.prod(shape)) for key, shape in shapes.items() if shape)
    user, movie = 82 * 16 + 16 + 16 * 8 + 8, 23 * 16 + 16 + 16 * 8 + 8
    assert sizes == {"model": user + movie, "tower": user}


def test_warm_up_requests_are_answered(exported, raw, tmp_path, session_run):
    """TensorFlow Serving refuses to load a version whose warm-up requests fail."""
    from tensorflow_serving.apis import prediction_log_pb2

    root, expected = exported
    user = {name: raw[name][:3] for name in f.USER_FEATURES}
    warmup.write(str(tmp_path), "user_tower", user)
    records = tf.data.TFRecordDataset(str(tmp_path / warmup.FILE)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    assert [request.model_spec.signature_name for request in requests] == [s.SERVING_DEFAULT, s.EMBED_USER]
    for request in requests:
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        answer = session_run(root / "tower", request.model_spec.signature_name, inputs)
        np.testing.assert_allclose(answer[s.USER_EMBEDDING], expected[s.USER_EMBEDDING][:3], atol=1e-5)

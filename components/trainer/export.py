"""Export: SavedModels with the transform inside, which TensorFlow Serving's C++ loader reads.

`tf.saved_model.save` of a Keras 3 model on TF 2.16 writes a file that Python loads and TensorFlow Serving refuses
(keras-team/keras#19274, tensorflow/serving#2250), so that plain modules over the variables are saved instead.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.towers import TwoTower
from schemas import features as f
from schemas import signatures as s


class _Module(tf.Module):
    """Tracks what the signatures use."""

    def __init__(self, model: TwoTower, transform: tft.TFTransformOutput) -> None:
        super().__init__()
        self._model = model
        # A Keras 3 variable is not trackable by TensorFlow; the tf.Variable inside is.
        self.model_variables = [variable.value for variable in model.variables]
        self.transform = transform.transform_features_layer()

    def _raw(self, lengths: dict[str, int]) -> dict[str, tf.TensorSpec]:
        return {name: tf.TensorSpec([None, n], tf.float32, name=name) for name, n in lengths.items()}

    def _signature(self, function: Callable, lengths: dict[str, int]):
        return tf.function(lambda **features: function(features)).get_concrete_function(**self._raw(lengths))

    def _serving_signature(self, function: Callable, lengths: dict[str, int]):
        spec = {name: tf.io.FixedLenFeature([n], tf.float32) for name, n in lengths.items()}

        def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return function(tf.io.parse_example(examples, spec))

        return tf.function(serve).get_concrete_function(tf.TensorSpec([None], tf.string, name=s.EXAMPLES))

    def embed_user(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Embed raw user features."""
        return {s.USER_EMBEDDING: self._model.user_tower(self.transform(features), training=False)}

    def embed_movie(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Embed raw movie features."""
        return {s.MOVIE_EMBEDDING: self._model.movie_tower(self.transform(features), training=False)}

    def predict(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Score raw features of both sides."""
        cosine = self._model(self.transform(features), training=False)[s.COSINE]
        return {s.COSINE: cosine, s.RATING: f.to_stars(cosine)}


def export_model(model: TwoTower, transform: tft.TFTransformOutput, directory: str) -> None:
    """Write the model with its four signatures; see `schemas.signatures`."""
    module = _Module(model, transform)
    both = {**f.USER_FEATURES, **f.MOVIE_FEATURES}
    tf.saved_model.save(
        module,
        directory,
        signatures={
            s.SERVING_DEFAULT: module._serving_signature(module.predict, both),
            s.EMBED_USER: module._signature(module.embed_user, f.USER_FEATURES),
            s.EMBED_MOVIE: module._signature(module.embed_movie, f.MOVIE_FEATURES),
            s.PREDICT: module._signature(module.predict, both),
        },
    )


def export_user_tower(model: TwoTower, transform: tft.TFTransformOutput, directory: str) -> None:
    """Write the user tower for TensorFlow Serving: `serving_default` over examples and `embed_user` over tensors."""
    module = _Module(model, transform)
    module.model_variables = [variable.value for variable in model.user_tower.variables]
    tf.saved_model.save(
        module,
        directory,
        signatures={
            s.SERVING_DEFAULT: module._serving_signature(module.embed_user, f.USER_FEATURES),
            s.EMBED_USER: module._signature(module.embed_user, f.USER_FEATURES),
        },
    )

"""Export: SavedModels with the transform inside, which TensorFlow Serving's C++ loader reads.

`tf.saved_model.save` of a Keras 3 model on TF 2.16 writes a file that Python loads and TensorFlow Serving refuses
(keras-team/keras#19274, tensorflow/serving#2250). So a plain module is saved that tracks nothing but the variables
and the transform; the Keras model, its optimizer with it, stays outside.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.towers import TwoTower
from schemas import features as f
from schemas import signatures as s

_Tensors = dict[str, tf.Tensor]


def export_model(model: TwoTower, transform: tft.TFTransformOutput, directory: str) -> None:
    """Write the model with its four signatures; see `schemas.signatures`."""
    layer = transform.transform_features_layer()
    both = {**f.USER_FEATURES, **f.MOVIE_FEATURES}

    def predict(features: _Tensors) -> _Tensors:
        cosine = model(layer(features), training=False)[s.COSINE]
        return {s.COSINE: cosine, s.RATING: f.to_stars(cosine)}

    signatures = {
        s.SERVING_DEFAULT: _of_examples(predict, both),
        s.EMBED_USER: _of_tensors(_embed_user(model, layer), f.USER_FEATURES),
        s.EMBED_MOVIE: _of_tensors(_embed_movie(model, layer), f.MOVIE_FEATURES),
        s.PREDICT: _of_tensors(predict, both),
    }
    _save(model, layer, directory, signatures)


def export_movie_tower(model: TwoTower, transform: tft.TFTransformOutput, directory: str) -> None:
    """Write the movie tower for the index: `embed_movie` over tensors."""
    layer = transform.transform_features_layer()
    _save(
        model.movie_tower,
        layer,
        directory,
        {s.EMBED_MOVIE: _of_tensors(_embed_movie(model, layer), f.MOVIE_FEATURES)},
    )


def export_user_tower(model: TwoTower, transform: tft.TFTransformOutput, directory: str) -> None:
    """Write the user tower for TensorFlow Serving: `serving_default` over examples and `embed_user` over tensors."""
    layer = transform.transform_features_layer()
    embed_user = _embed_user(model, layer)
    signatures = {
        s.SERVING_DEFAULT: _of_examples(embed_user, f.USER_FEATURES),
        s.EMBED_USER: _of_tensors(embed_user, f.USER_FEATURES),
    }
    _save(model.user_tower, layer, directory, signatures)


def _embed_user(model: TwoTower, layer: Callable[[_Tensors], _Tensors]) -> Callable[[_Tensors], _Tensors]:
    return lambda features: {s.USER_EMBEDDING: model.user_tower(layer(features), training=False)}


def _embed_movie(model: TwoTower, layer: Callable[[_Tensors], _Tensors]) -> Callable[[_Tensors], _Tensors]:
    return lambda features: {s.MOVIE_EMBEDDING: model.movie_tower(layer(features), training=False)}


def _of_tensors(function: Callable[[_Tensors], _Tensors], lengths: dict[str, int]):
    specs = {name: tf.TensorSpec([None, n], tf.float32, name=name) for name, n in lengths.items()}
    return tf.function(lambda **features: function(features)).get_concrete_function(**specs)


def _of_examples(function: Callable[[_Tensors], _Tensors], lengths: dict[str, int]):
    specs = {name: tf.io.FixedLenFeature([n], tf.float32) for name, n in lengths.items()}

    def serve(examples: tf.Tensor) -> _Tensors:
        return function(tf.io.parse_example(examples, specs))

    return tf.function(serve).get_concrete_function(tf.TensorSpec([None], tf.string, name=s.EXAMPLES))


def _save(model: keras.Model, layer: tf.Module, directory: str, signatures: dict) -> None:
    module = tf.Module()
    module.transform = layer
    # A Keras 3 variable is not trackable by TensorFlow; the tf.Variable inside is.
    module.model_variables = [variable.value for variable in model.variables]
    tf.saved_model.save(module, directory, signatures=signatures)

"""Export: SavedModels with the transform inside, which TensorFlow Serving's C++ loader reads.

`tf.saved_model.save` of a Keras 3 model on TF 2.16 writes a file that Python loads and TensorFlow Serving refuses
(keras-team/keras#19274, tensorflow/serving#2250). So a plain module is saved that tracks nothing but the variables
and the transform; the Keras model, its optimizer with it, stays outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.trainer.tower_inputs import TowerInputs
from components.trainer.towers import Tower
from components.trainer.two_tower import TwoTower
from schemas import features as f
from schemas import numpy_tower
from schemas import signatures as s
from schemas.domain import Domain
from schemas.manifest import USER_TOWER_FILE
from schemas.numpy_tower import NumpyTower, Perceptron, Retrieval

_Tensors = dict[str, tf.Tensor]


def _user_specs(domain: Domain) -> dict[str, tf.TensorSpec]:
    lengths = f.lengths(f.USER_FEATURES, domain.num_categories)
    return {name: tf.TensorSpec([None, length], tf.float32, name) for name, length in lengths.items()} | {
        f.USER_HISTORY_MOVIES: tf.TensorSpec([None, None], tf.int64, f.USER_HISTORY_MOVIES),
        f.USER_HISTORY_RATINGS: tf.TensorSpec([None, None], tf.float32, f.USER_HISTORY_RATINGS),
        f.TIMESTAMP: tf.TensorSpec([None, 1], tf.int64, f.TIMESTAMP),
    }


def _movie_specs(domain: Domain) -> dict[str, tf.TensorSpec]:
    lengths = f.lengths(f.MOVIE_FEATURES, domain.num_categories)
    return {name: tf.TensorSpec([None, length], tf.float32, name) for name, length in lengths.items()} | {
        f.MOVIE_ID: tf.TensorSpec([None, 1], tf.int64, f.MOVIE_ID)
    }


def export_model(model: TwoTower, inputs: TowerInputs, directory: str) -> None:
    """Write the model with its four signatures; see `schemas.signatures`."""
    of_user, of_movie = _user_specs(model.domain), _movie_specs(model.domain)
    both = of_user | of_movie
    # The towers are traced once, and what else there is calls them.
    user = _of_tensors(_embed(model.user_tower, inputs), of_user)
    movie = _of_tensors(_embed(model.movie_tower, inputs), of_movie)

    def predict(features: _Tensors) -> _Tensors:
        vectors = user(**{name: features[name] for name in of_user}) | movie(**{n: features[n] for n in of_movie})
        outputs = model.compared(vectors)
        return {s.COSINE: outputs[s.COSINE], s.RATING: f.to_stars(outputs[s.SCALED_RATING])}

    signatures = {
        s.SERVING_DEFAULT: _of_examples(predict, both),
        s.EMBED_USER: user,
        s.EMBED_MOVIE: movie,
        s.PREDICT: _of_tensors(predict, both),
    }
    _save(model, inputs, directory, signatures)


def export_movie_tower(model: TwoTower, inputs: TowerInputs, directory: str) -> None:
    """Write the movie tower for the index: `embed_movie` over tensors."""
    signatures = {s.EMBED_MOVIE: _of_tensors(_embed(model.movie_tower, inputs), _movie_specs(model.domain))}
    _save(model.movie_tower, inputs, directory, signatures)


def export_user_tower(model: TwoTower, inputs: TowerInputs, directory: str) -> None:
    """Write the user tower for TensorFlow Serving: `serving_default` over examples and `embed_user` over tensors.

    Beside the directory its weights are written, for serving without TensorFlow.
    """
    specs = _user_specs(model.domain)
    embed = _of_tensors(_embed(model.user_tower, inputs), specs)
    signatures = {s.SERVING_DEFAULT: _of_examples(lambda features: embed(**features), specs), s.EMBED_USER: embed}
    _save(model.user_tower, inputs, directory, signatures)
    with tf.io.gfile.GFile(f"{directory.rsplit('/', 1)[0]}/{USER_TOWER_FILE}", "wb") as file:
        file.write(numpy_tower.dump(numpy_user_tower(model, inputs)))


def numpy_user_tower(model: TwoTower, inputs: TowerInputs) -> NumpyTower:
    """Return the user tower as what serves it without TensorFlow."""
    tower, domain = model.user_tower, model.domain
    columns, begin = {}, 0
    for name, width in (f.lengths(f.STANDARDISED, domain.num_categories) | {f.TIMESTAMP: 1}).items():
        columns[name] = slice(begin, begin := begin + width)
    read = (*numpy_tower.STANDARDISED, f.TIMESTAMP)
    means, deviations = (np.concatenate([c[columns[name]] for name in read]) for c in inputs.transform.constants())
    retrieval = None
    if tower.retrieval:
        movies = len(inputs.vocabulary) + 1
        retrieval = Retrieval(
            factors=np.asarray(tower.factors),
            residuals=np.asarray(tower.residuals),
            ids=np.asarray(tower.ids.embeddings) if model.config.id_dim else np.zeros((movies, 0), np.float32),
            longest=np.asarray(tower.longest),
            genre_shares=np.asarray(tower.genre_shares),
            blend=np.asarray(tower.blend),
            temperature=np.array(model.config.temperature, np.float32),
            perceptron=_perceptron(tower.embedding_stack),
        )
    return NumpyTower(
        movie_ids=np.asarray(inputs.vocabulary, np.int64),
        means=means,
        deviations=deviations,
        averages=np.asarray(tower.averages),
        genres=np.asarray(tower.genres),
        user_variance=np.asarray(tower.user_variance),
        perceptron=_perceptron(tower.rating_stack),
        domain=domain,
        retrieval=retrieval,
    )


def _perceptron(stack: keras.Sequential) -> Perceptron:
    dense = [layer for layer in stack.layers if isinstance(layer, keras.layers.Dense)]
    return Perceptron(tuple((np.asarray(layer.kernel), np.asarray(layer.bias)) for layer in dense))


def _embed(tower: Tower, inputs: TowerInputs) -> Callable[[_Tensors], _Tensors]:
    return lambda features: tower(inputs(features), training=False)


def _of_tensors(function: Callable[[_Tensors], _Tensors], specs: dict[str, tf.TensorSpec]) -> Any:
    """Return the concrete function of a signature over tensors."""
    return tf.function(lambda **features: function(features)).get_concrete_function(**specs)


def _of_examples(function: Callable[[_Tensors], _Tensors], specs: dict[str, tf.TensorSpec]) -> Any:
    """Return that of a signature over serialized examples."""
    # A history may have any length, or be missing; shorter ones are padded with zeros.
    parsed = {
        name: tf.io.FixedLenFeature(spec.shape[1:], spec.dtype)
        if spec.shape[1]
        else tf.io.FixedLenSequenceFeature([], spec.dtype, allow_missing=True)
        for name, spec in specs.items()
    }

    def serve(examples: tf.Tensor) -> _Tensors:
        return function(tf.io.parse_example(examples, parsed))

    return tf.function(serve).get_concrete_function(tf.TensorSpec([None], tf.string, name=s.EXAMPLES))


def _save(model: keras.Model, inputs: TowerInputs, directory: str, signatures: dict[str, Any]) -> None:
    module = tf.Module()
    module.inputs = inputs
    # A Keras 3 variable is not trackable by TensorFlow; the tf.Variable inside is.
    module.model_variables = [variable.value for variable in model.variables]
    tf.saved_model.save(module, directory, signatures=signatures)

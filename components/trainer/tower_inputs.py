"""What the towers read, from what is known of users and movies outside of the examples."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schemas import features as f


def vocabulary(transform: tft.TFTransformOutput) -> np.ndarray:
    """Return the movie ids in the order of Transform's vocabulary, `[movies]` int64."""
    return np.array([int(name) for name in transform.vocabulary_by_name(f.MOVIE_IDS_VOCABULARY)], np.int64)


class TowerInputs(tf.Module):
    """Raw features -> the towers' inputs: the transform, and the vocabulary for histories, which it does not know."""

    def __init__(self, transform: tft.TFTransformOutput) -> None:
        super().__init__()
        self._layer = transform.transform_features_layer()
        movie_ids = vocabulary(transform)
        # Not from the file: TensorFlow shares such a table by its path, also with a run before that had other movies.
        entries = tf.lookup.KeyValueTensorInitializer(movie_ids, np.arange(1, len(movie_ids) + 1))
        self._places = tf.lookup.StaticHashTable(entries, 0)

    def __call__(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the inputs of one tower or of both, `[batch, n]` each, from its raw features and history."""
        history = {f.USER_HISTORY_MOVIES, f.USER_HISTORY_RATINGS}
        inputs = self._layer({name: value for name, value in features.items() if name not in history})
        if not history <= features.keys():
            return inputs
        return inputs | {
            f.USER_HISTORY_TOKENS: self._places.lookup(features[f.USER_HISTORY_MOVIES]),
            f.USER_HISTORY_RATINGS: features[f.USER_HISTORY_RATINGS],
        }

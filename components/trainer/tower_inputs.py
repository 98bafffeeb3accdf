"""What the towers read, from what is known of users and movies outside of the examples."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

from schemas import features as f


class TowerInputs(tf.Module):
    """Raw features -> the towers' inputs: the transform, and the vocabulary for histories, which it does not know."""

    def __init__(self, transform: tft.TFTransformOutput) -> None:
        super().__init__()
        self._layer = transform.transform_features_layer()
        path = transform.vocabulary_file_by_name(f.MOVIE_IDS_VOCABULARY)
        lines = tf.lookup.TextFileIndex
        self._places = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(path, tf.int64, lines.WHOLE_LINE, tf.int64, lines.LINE_NUMBER), -1
        )

    def __call__(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the inputs of one tower or of both, `[batch, n]` each, from its raw features and history."""
        history = {f.USER_HISTORY_MOVIES, f.USER_HISTORY_RATINGS}
        inputs = self._layer({name: value for name, value in features.items() if name not in history})
        if not history <= features.keys():
            return inputs
        return inputs | {
            f.USER_HISTORY_TOKENS: 1 + self._places.lookup(features[f.USER_HISTORY_MOVIES]),
            f.USER_HISTORY_RATINGS: features[f.USER_HISTORY_RATINGS],
        }

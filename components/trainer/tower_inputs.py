"""What the towers read, from what is known of users and movies outside of the examples."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schemas import features as f


class _Transform(tf.Module):
    """Transform's graph, of which what can be computed, and no more, enters the graph of whoever calls it.

    `TransformFeaturesLayer` calls all of it, the movies' half for a user too, as a function that TensorFlow does not
    inline: a sixth of the time that the user tower takes for a single user.
    """

    def __init__(self, transform: tft.TFTransformOutput) -> None:
        super().__init__()
        self._loaded = tf.saved_model.load(transform.transform_savedmodel_dir)
        self._function = self._loaded.transform_fn

    @tf.autograph.experimental.do_not_convert
    def __call__(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the transformed features that depend on no raw features but these."""
        if tf.executing_eagerly():
            return tf.function(self)(features)
        function = self._function
        raw, transformed = function.structured_input_signature[0][0], function.structured_outputs
        given = [tensor.op.name for tensor in function.inputs]
        # Inputs and outputs are in the order of their names; behind the inputs are the constants that were learned.
        fed = {place: features[name] for name, place in zip(sorted(raw), given, strict=False) if name in features}
        fed |= {
            place: tf.constant(value.numpy())
            for place, value in zip(given[len(raw) :], function.captured_inputs, strict=True)
        }
        outputs, kept = {}, set()
        for name, tensor in zip(sorted(transformed), function.outputs, strict=True):
            needed = _operations(tensor)
            if all(operation.name in fed for operation in needed if operation.type == "Placeholder"):
                outputs[name] = tensor
                kept |= {operation.name for operation in needed}
        definition = function.graph.as_graph_def()
        nodes = [node for node in definition.node if node.name in kept - fed.keys()]
        for node in nodes:  # Outputs wait for what else the function does, which is nothing lasting.
            node.input[:] = [place for place in node.input if not place.startswith("^")]
        found = tf.graph_util.import_graph_def(
            tf.compat.v1.GraphDef(node=nodes, library=definition.library, versions=definition.versions),
            input_map={place: value for place, value in fed.items() if place in kept},
            return_elements=[tensor.name for tensor in outputs.values()],
            name="transform",
        )
        return dict(zip(outputs, found, strict=True))

    def constants(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the means and deviations that were learned, `[n]` float64, of `features.STANDARDISED` and the time."""
        function = self._function
        root = next(op for op in function.graph.get_operations() if op.type == "Sqrt")
        of_deviations = {operation.name for operation in _operations(root.outputs[0])}
        learned = function.inputs[-len(function.captured_inputs) :]
        values = {t.op.name in of_deviations: v.numpy() for t, v in zip(learned, function.captured_inputs, strict=True)}
        return values[False], np.sqrt(values[True])


def _operations(tensor: tf.Tensor) -> set[tf.Operation]:
    """Return what a tensor is computed from."""
    found, left = set(), [tensor.op]
    while left:
        operation = left.pop()
        if operation not in found:
            found.add(operation)
            left += [value.op for value in operation.inputs]
    return found


class TowerInputs(tf.Module):
    """Raw features -> the towers' inputs: the transform, and the places of movies in the vocabulary.

    Attributes:
      transform: The transform alone, which is arithmetic and can be compiled.
      vocabulary: `[movies]` int64.
    """

    def __init__(self, transform: tft.TFTransformOutput, vocabulary: np.ndarray) -> None:
        """Load the transform.

        Args:
          transform: What Transform learned.
          vocabulary: `[movies]` int64, the ids of the movies that have an embedding of their own.
        """
        super().__init__()
        self.transform, self.vocabulary = _Transform(transform), vocabulary
        entries = tf.lookup.KeyValueTensorInitializer(vocabulary, np.arange(1, len(vocabulary) + 1, dtype=np.int32))
        self._places = tf.lookup.StaticHashTable(entries, 0)

    def __call__(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the inputs of one tower or of both, `[batch, n]` each, from its raw features and history."""
        history = {f.USER_HISTORY_MOVIES, f.USER_HISTORY_RATINGS}
        inputs = self.transform({name: value for name, value in features.items() if name not in history})
        if f.MOVIE_ID in features:
            inputs[f.MOVIE_TOKEN] = self._places.lookup(features[f.MOVIE_ID])
        if not history <= features.keys():
            return inputs
        return inputs | {
            f.USER_HISTORY_TOKENS: self._places.lookup(features[f.USER_HISTORY_MOVIES]),
            f.USER_HISTORY_RATINGS: features[f.USER_HISTORY_RATINGS],
        }

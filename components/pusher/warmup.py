"""Warm-up requests: what TensorFlow Serving replays before a version takes its first request."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from schemas import signatures as s

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")


def to_examples(features: Mapping[str, np.ndarray]) -> list[bytes]:
    """Serialise `[batch, n]` features as one tf.Example a row."""
    rows = len(next(iter(features.values())))
    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    name: tf.train.Feature(int64_list=tf.train.Int64List(value=value[i]))
                    if np.issubdtype(value.dtype, np.integer)
                    else tf.train.Feature(float_list=tf.train.FloatList(value=value[i]))
                    for name, value in features.items()
                }
            )
        ).SerializeToString()
        for i in range(rows)
    ]


def write(model_dir: str, model_name: str, features: Mapping[str, np.ndarray]) -> None:
    """Add warm-up requests of both signatures to a user tower's SavedModel.

    Args:
      model_dir: Local directory of the SavedModel.
      model_name: Name under which TensorFlow Serving serves it.
      features: What the user tower takes, `[batch, n]` each.
    """
    inputs = {
        s.SERVING_DEFAULT: {s.EXAMPLES: np.array(to_examples(features), object)},
        s.EMBED_USER: dict(features),
    }
    path = os.path.join(model_dir, FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for signature, tensors in inputs.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model_name, signature
            for name, value in tensors.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())

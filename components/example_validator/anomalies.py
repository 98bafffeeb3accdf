"""Reading and wording of TensorFlow Data Validation's anomalies."""

from __future__ import annotations

import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2

_FILE = "SchemaDiff.pb"


def read(uri: str) -> list[tuple[str, str, str]]:
    """Read the anomalies of an ExampleAnomalies artifact.

    Returns:
      (split, feature, reason) of each; the feature is empty where the whole data set is meant.
    """
    found = []
    for path in sorted(tf.io.gfile.glob(f"{uri}/Split-*/{_FILE}")):
        split = path.split("/")[-2].removeprefix("Split-")
        with tf.io.gfile.GFile(path, "rb") as file:
            anomalies = anomalies_pb2.Anomalies.FromString(file.read())
        for name, info in sorted(anomalies.anomaly_info.items()):
            found.append((split, name, info.description))
        for reason in anomalies.dataset_anomaly_info.reason:
            found.append((split, "", reason.description))
    return found


def describe(found: list[tuple[str, str, str]]) -> str:
    """Word anomalies as one message."""
    lines = [f"split {split}, {f'feature {name}' if name else 'data set'}: {reason}" for split, name, reason in found]
    return "the examples break the schema. " + " | ".join(lines)

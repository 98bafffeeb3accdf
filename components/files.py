"""Directories on any file system that TensorFlow reaches."""

from __future__ import annotations

import tensorflow as tf


def copy_tree(source: str, target: str) -> None:
    """Copy a directory and what is in it; files that are there already are replaced.

    Args:
      source: Path or URI.
      target: Likewise; made if missing.
    """
    source, target = source.rstrip("/"), target.rstrip("/")
    for directory, _, files in tf.io.gfile.walk(source):
        place = f"{target}{directory.rstrip('/').removeprefix(source)}"
        tf.io.gfile.makedirs(place)
        for name in files:
            tf.io.gfile.copy(f"{directory.rstrip('/')}/{name}", f"{place}/{name}", overwrite=True)

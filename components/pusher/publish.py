"""Publication: a Model artifact's user tower and the index of its movie embeddings, under one version."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import tensorflow as tf

from components.polars_example_gen.features import FeatureConstants
from components.pusher import index, store, warmup
from schemas import manifest as m
from schemas.histories import Histories
from schemas.signatures import USER_TOWER
from schemas.vectors import Vectors


@dataclasses.dataclass(frozen=True)
class Published:
    """What became of a publication."""

    version: int
    """The version that serves the model now."""
    pushed: bool
    """False if an identical version is served already."""
    removed: tuple[int, ...] = ()
    """Old versions that were removed."""


def weights_digest(saved_model_dir: str) -> str:
    """Hash a SavedModel's variables; the files around them differ from one save to the next."""
    reader = tf.train.load_checkpoint(f"{saved_model_dir}/variables/variables")
    digest = hashlib.sha256()
    for name in sorted(reader.get_variable_to_shape_map()):
        if not name.startswith("_CHECKPOINTABLE"):
            value = np.asarray(reader.get_tensor(name))
            digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()


def publish(
    serving_root: str,
    tower_dir: str,
    models: Mapping[str, str],
    vectors: Vectors,
    movies: pl.DataFrame,
    histories: Histories,
    constants: FeatureConstants,
    probe: Sequence[float],
    warmup_features: Mapping[str, np.ndarray],
    index_factory: str,
    keep_versions: int,
    work_dir: str,
) -> Published:
    """Publish a model unless the same one is served.

    Args:
      serving_root: Path or URI.
      tower_dir: SavedModel of the user tower, path or URI.
      models: Folder of the index -> SavedModel that goes there, path or URI; see `index.write_index`.
      vectors: Of every movie.
      movies: Catalogue in the order of the vectors.
      histories: Every rating, its movie by its position in `movies`.
      constants: Constants of the user features.
      probe: `[dim]` the user tower's embedding of a user without ratings.
      warmup_features: User features of a few users, replayed by TensorFlow Serving when it loads the tower.
      index_factory: FAISS index_factory string.
      keep_versions: How many versions stay, at least 1.
      work_dir: Empty local directory for staging.

    Returns:
      What became of it.
    """
    serving = store.ServingStore(serving_root)
    version = serving.next_version(time.time())
    index_dir, staged_tower = (str(pathlib.Path(work_dir) / name) for name in (m.EMBEDDING_INDEX, USER_TOWER))
    staged_models = {folder: str(pathlib.Path(work_dir) / folder) for folder in models}
    for folder, saved_model in models.items():
        _copy(saved_model, staged_models[folder])
    manifest = index.write_index(
        index_dir,
        version,
        vectors,
        movies,
        histories,
        constants,
        weights_digest(tower_dir),
        index_factory,
        models=staged_models,
        probe=probe,
    )
    served = serving.latest()
    if served is not None and _same(manifest, index.read_manifest(serving.directory(m.EMBEDDING_INDEX, served))):
        return Published(served, False)
    _copy(tower_dir, staged_tower)
    warmup.write(staged_tower, USER_TOWER, warmup_features)
    serving.publish(version, index_dir, staged_tower)
    return Published(version, True, tuple(serving.prune(keep_versions)))


def _same(a: m.Manifest, b: m.Manifest) -> bool:
    def essence(manifest: m.Manifest) -> m.Manifest:
        # A SavedModel's graph differs from one save to the next; the vectors stand for the models.
        files = {name: digest for name, digest in manifest.files.items() if "/" not in name}
        return dataclasses.replace(manifest, version=0, created_s=0, files=files)

    return essence(a) == essence(b)


def _copy(source: str, target: str) -> None:
    for directory, _, files in tf.io.gfile.walk(source):
        place = pathlib.Path(target) / directory.removeprefix(source).strip("/")
        place.mkdir(parents=True, exist_ok=True)
        for name in files:
            tf.io.gfile.copy(f"{directory.rstrip('/')}/{name}", str(place / name), overwrite=True)

"""Publication: a Model artifact's user tower and the index of its movie embeddings, under one version."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from components.files import copy_tree
from components.pusher import warmup
from schemas import manifest as m
from schemas.signatures import USER_TOWER
from serving import index, store
from serving.index import IndexContents
from serving.verification import check_pair, whole


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


@dataclasses.dataclass(frozen=True)
class Publication:
    """What is published."""

    tower_dir: str
    """SavedModel of the user tower, path or URI."""
    contents: IndexContents
    """The index of the same version; the models in it are paths or URIs."""
    warmup_features: Mapping[str, np.ndarray]
    """User features of a few users, replayed by TensorFlow Serving when it loads the tower."""


def publish(serving_dir: str, publication: Publication, keep_versions: int, work_dir: str) -> Published:
    """Publish a model unless the same one is served; what was written is loaded before it appears.

    Args:
      serving_dir: Path or URI.
      publication: What to publish.
      keep_versions: How many versions stay, at least 1.
      work_dir: Empty local directory for staging.

    Returns:
      What became of it.

    Raises:
      RuntimeError: What was written does not work, or another publication holds the root; nothing is published then.
    """
    serving, work = store.ServingStore(serving_dir), pathlib.Path(work_dir)
    with serving.exclusive():
        return _publish(serving, publication, keep_versions, work)


def _publish(
    serving: store.ServingStore, publication: Publication, keep_versions: int, work: pathlib.Path
) -> Published:
    version = serving.next_version(time.time())
    index_dir, staged_tower = str(work / m.EMBEDDING_INDEX), str(work / USER_TOWER)
    models = publication.contents.models
    staged_models = {folder: str(work / folder) for folder in models}
    for folder, saved_model in models.items():
        copy_tree(saved_model, staged_models[folder])
    contents = dataclasses.replace(publication.contents, models=staged_models)
    manifest = index.write_index(index_dir, version, contents)
    served = serving.latest()
    # A damaged version does not serve the model, whatever its manifest says.
    found = None if served is None else whole(serving, served)
    if found and _same(manifest, found.manifest):
        return Published(found.manifest.version, False)
    copy_tree(publication.tower_dir, staged_tower)
    warmup.write(staged_tower, USER_TOWER, publication.warmup_features)
    serving.publish(version, index_dir, staged_tower, check_pair)
    return Published(version, True, tuple(serving.prune(keep_versions)))


def _same(a: m.Manifest, b: m.Manifest) -> bool:
    def essence(manifest: m.Manifest) -> m.Manifest:
        # A SavedModel's graph differs from one save to the next; the vectors stand for the models.
        files = {name: digest for name, digest in manifest.files.items() if "/" not in name}
        return dataclasses.replace(manifest, version=0, created_s=0, files=files)

    return essence(a) == essence(b)

"""Publication: a Model artifact's user tower and the index of its movie embeddings, under one version."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import time
from functools import partial

import numpy as np
import tensorflow as tf

from components.embedding import embed_users
from components.files import copy_tree
from components.pusher import warmup
from schemas import manifest as m
from schemas.signatures import USER_TOWER
from schemas.user_features import Features
from serving import index, store
from serving.index import IndexContents
from serving.user_tower import read_user_tower
from serving.verification import whole

_TOLERANCE = 1e-4
"""Between both forms of a tower; rounded features may differ by 2**-16."""


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
    warmup_features: Features
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
    copy_tree(publication.tower_dir, staged_tower)
    warmup.write(staged_tower, USER_TOWER, publication.warmup_features)
    manifest = index.write_index(index_dir, version, contents, staged_tower)
    served = serving.latest()
    # A damaged version does not serve the model, whatever its manifest says.
    found = None if served is None else whole(serving, served)
    if found and _same(manifest, found.manifest):
        return Published(found.manifest.version, False)
    serving.publish(version, index_dir, staged_tower, partial(check_pair, publication.warmup_features))
    return Published(version, True, tuple(serving.prune(keep_versions)))


def check_pair(features: Features, index_dir: str, tower_dir: str) -> None:
    """Raise RuntimeError unless an index, and the user tower in both of its forms, load and answer the same.

    Args:
      features: Of a few users.
      index_dir: Directory of the index, local or behind a URI.
      tower_dir: Directory of the user tower, likewise.
    """
    index.read_index(index_dir)
    answer = read_user_tower(index_dir, tower_dir).embed(features)
    try:
        expected = embed_users(tf.saved_model.load(tower_dir), features)
    except Exception as error:  # A damaged graph fails in as many ways as there are operations.
        raise RuntimeError(f"the user tower in {tower_dir} does not work: {error}. Publish again") from error
    for found, other in ((answer.embeddings, expected.embeddings), (answer.rating_vectors, expected.rating_vectors)):
        if found.shape != other.shape or not np.allclose(found, other, atol=_TOLERANCE):
            raise RuntimeError(f"the user tower in {tower_dir} answers otherwise than its weights. Publish again")


def _same(a: m.Manifest, b: m.Manifest) -> bool:
    def essence(manifest: m.Manifest) -> m.Manifest:
        # A SavedModel's graph differs from one save to the next, and the last bits of means from one Beam to the next;
        # the vectors and the weights' digest stand for the models.
        models = {name for name in manifest.files if "/" in name} | {m.USER_TOWER_FILE}
        files = {name: digest for name, digest in manifest.files.items() if name not in models}
        return dataclasses.replace(manifest, version=0, created_s=0, files=files, tower_files={})

    return essence(a) == essence(b)

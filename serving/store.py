"""The serving root: versions of the user tower and of the embedding index, published so that a crash loses nothing.

    ROOT/embedding_index/<version>/   complete first
    ROOT/user_tower/<version>/        appears last, and at once

A version is served when both are there. On a file system a directory is staged under a name that TensorFlow Serving
ignores and renamed; an object store has no rename, so that the file which marks a directory as complete goes last.
"""

from __future__ import annotations

import os
import pathlib
import uuid

import fsspec
from fsspec.implementations.local import LocalFileSystem

from schemas.manifest import EMBEDDING_INDEX, MANIFEST_FILE, SAVED_MODEL_FILE
from schemas.signatures import USER_TOWER

_MARKERS = {EMBEDDING_INDEX: MANIFEST_FILE, USER_TOWER: SAVED_MODEL_FILE}
_STAGING = ".staging-"


class ServingStore:
    """Reads and writes the versions under a serving root, a path or a URI."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._fs, self._path = fsspec.core.url_to_fs(root)
        self._local = isinstance(self._fs, LocalFileSystem)

    def directory(self, kind: str, version: int) -> str:
        """Return the path or URI of a version's index or user tower."""
        return f"{self.root.rstrip('/')}/{kind}/{version}"

    def versions(self) -> list[int]:
        """List the versions that are complete, oldest first."""
        return sorted(self._marked(EMBEDDING_INDEX) & self._marked(USER_TOWER))

    def latest(self) -> int | None:
        """Return the newest complete version, or None."""
        return max(self.versions(), default=None)

    def resolve(self, version: int | None = None) -> int:
        """Return a version that is served: the given one, or the newest.

        Raises:
          ValueError: Nothing is published, or not this version.
        """
        versions = self.versions()
        if not versions:
            raise ValueError(f"no model is published under {self.root}; run the pipeline first (matinee run)")
        if version is None:
            return versions[-1]
        if version not in versions:
            raise ValueError(f"version {version} is not published under {self.root}; there are {versions}")
        return version

    def next_version(self, now_s: float) -> int:
        """Return a version above every other: the time in seconds, or one more than the newest."""
        taken = self._listed(EMBEDDING_INDEX) | self._listed(USER_TOWER)
        return max(int(now_s), max(taken, default=0) + 1)

    def local_copy(self, kind: str, version: int, target: str, folder: str = "") -> str:
        """Return a local directory with a version's index or user tower, copied to `target` from an object store.

        With `folder`, that folder of it alone.
        """
        if self._local:
            return f"{self.directory(kind, version)}/{folder}".rstrip("/")
        source = f"{self._path.rstrip('/')}/{kind}/{version}/{folder}".rstrip("/")
        for path in self._fs.find(source):
            copy = pathlib.Path(target) / path.removeprefix(source).lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(path, str(copy))
        return target

    def publish(self, version: int, index_dir: str, tower_dir: str) -> None:
        """Publish a version: the index first, the user tower last.

        Args:
          version: A version that is not there yet.
          index_dir: Local directory with the index, manifest inside.
          tower_dir: Local directory with the user tower's SavedModel.
        """
        self._remove_leftovers()
        self._put(index_dir, EMBEDDING_INDEX, version)
        self._put(tower_dir, USER_TOWER, version)

    def prune(self, keep: int) -> list[int]:
        """Remove all but the newest complete versions, and incomplete ones older than the newest.

        Args:
          keep: How many versions stay, at least 1.

        Returns:
          The versions that were removed.
        """
        if keep < 1:
            raise ValueError(f"keep is {keep}, expected 1 or more")
        complete = self.versions()
        kept = set(complete[-keep:])
        newest = max(complete, default=0)
        gone = {v for kind in _MARKERS for v in self._listed(kind) if v not in kept and v < newest}
        for version in sorted(gone):
            for kind in (USER_TOWER, EMBEDDING_INDEX):  # The tower first: an index without a tower is not served.
                self._remove(kind, str(version))
        return sorted(gone)

    def _listed(self, kind: str) -> set[int]:
        directory = f"{self._path.rstrip('/')}/{kind}"
        if not self._fs.exists(directory):
            return set()
        names = (path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(directory, detail=False, refresh=True))
        return {int(name) for name in names if name.isdecimal() and name.isascii() and int(name) < 2**63}

    def _marked(self, kind: str) -> set[int]:
        base = f"{self._path.rstrip('/')}/{kind}"
        return {v for v in self._listed(kind) if self._fs.exists(f"{base}/{v}/{_MARKERS[kind]}")}

    def _put(self, source: str, kind: str, version: int) -> None:
        base = f"{self._path.rstrip('/')}/{kind}"
        name = str(version) if not self._local else f"{_STAGING}{version}-{uuid.uuid4().hex}"
        files = sorted(path for path in pathlib.Path(source).rglob("*") if path.is_file())
        files.sort(key=lambda path: path.relative_to(source).as_posix() == _MARKERS[kind])
        try:
            for path in files:
                target = f"{base}/{name}/{path.relative_to(source).as_posix()}"
                self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
                self._fs.put_file(str(path), target)
        except OSError:
            self._remove(kind, name)  # A full disk wants its room back.
            raise
        if self._local:
            os.rename(f"{base}/{name}", f"{base}/{version}")

    def _remove(self, kind: str, name: str) -> None:
        path = f"{self._path.rstrip('/')}/{kind}/{name}"
        if not self._fs.exists(path):
            return
        if self._local and not name.startswith("."):
            # Renamed first, so that no reader ever sees half a directory under the version's name.
            aside = f"{self._path.rstrip('/')}/{kind}/{_STAGING}{name}-{uuid.uuid4().hex}"
            os.rename(path, aside)
            path = aside
        elif not self._local and self._fs.exists(marker := f"{path}/{_MARKERS[kind]}"):
            self._fs.rm_file(marker)
        self._fs.rm(path, recursive=True)

    def _remove_leftovers(self) -> None:
        """Remove what a killed publication staged."""
        for kind in _MARKERS:
            directory = f"{self._path.rstrip('/')}/{kind}"
            if self._local and self._fs.exists(directory):
                for path in self._fs.ls(directory, detail=False):
                    name = path.rsplit("/", 1)[-1]
                    if name.startswith(_STAGING):
                        self._remove(kind, name)

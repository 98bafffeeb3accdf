"""The serving root: versions of the user tower and of the embedding index, published so that a crash loses nothing.

    ROOT/embedding_index/<version>/   complete first
    ROOT/user_tower/<version>/        appears last, and at once

A version is served when both are there. On a file system a directory is staged under a name that TensorFlow Serving
ignores, written through to the disk, and renamed; an object store has no rename, so that the file which marks a
directory as complete goes last.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import uuid
from collections.abc import Callable, Iterator

import filelock
import fsspec
from fsspec.implementations.local import LocalFileSystem

from schemas.manifest import EMBEDDING_INDEX, MANIFEST_FILE, SAVED_MODEL_FILE
from schemas.signatures import USER_TOWER
from serving.index_checks import check_tree

Verify = Callable[[str, str], object]
"""Raises if a version does not work; takes the directories of its index and its user tower."""

_MARKERS = {EMBEDDING_INDEX: MANIFEST_FILE, USER_TOWER: SAVED_MODEL_FILE}
_STAGING = ".staging-"
_LOCK = ".publishing"
_LOCK_TIMEOUT_S = 600.0


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

        Raises:
          ValueError: It holds a link, a pipe or a device, which whoever reads it would follow or wait for.
        """
        source = f"{self._kind(kind)}/{version}/{folder}".rstrip("/")
        if self._local:
            check_tree(source)
            return source
        for path in self._fs.find(source):
            copy = pathlib.Path(target) / path.removeprefix(source).lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(path, str(copy))
        return target

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let no other publication into the root meanwhile, of this machine or of one that shares the file system.

        Behind a URI there is no lock to take: an object store needs a single publisher at a time.

        Raises:
          RuntimeError: Another publication holds it for ten minutes.
        """
        if not self._local:
            yield
            return
        self._fs.makedirs(self._path, exist_ok=True)
        lock = filelock.FileLock(f"{self._path.rstrip('/')}/{_LOCK}", timeout=_LOCK_TIMEOUT_S)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(lock)
            except filelock.Timeout:
                raise RuntimeError(
                    f"another publication holds {self.root} for {_LOCK_TIMEOUT_S:g} s; wait for it and publish again"
                ) from None
            yield

    def publish(self, version: int, index_dir: str, tower_dir: str, verify: Verify | None = None) -> None:
        """Publish a version: the index first, the user tower last. What goes wrong leaves nothing of it.

        Args:
          version: A version that is not there yet; chosen and published within one `exclusive`.
          index_dir: Local directory with the index, manifest inside.
          tower_dir: Local directory with the user tower's SavedModel.
          verify: Looks at what was written, before the version appears; behind a URI at the tower to be sent.
        """
        self._remove_leftovers()
        names = {kind: f"{_STAGING}{version}-{uuid.uuid4().hex}" if self._local else str(version) for kind in _MARKERS}
        sources = {EMBEDDING_INDEX: index_dir, USER_TOWER: tower_dir}
        written: list[str] = []
        try:
            for kind, source in sources.items():
                written.append(kind)
                # An object store shows the tower with its last object: what there is to verify is verified before.
                if verify and not self._local and kind == USER_TOWER:
                    verify(self.directory(EMBEDDING_INDEX, version), tower_dir)
                self._put(source, kind, names[kind])
            if self._local:
                staged = {kind: f"{self._kind(kind)}/{name}" for kind, name in names.items()}
                if verify:
                    verify(staged[EMBEDDING_INDEX], staged[USER_TOWER])
                for kind, path in staged.items():
                    os.rename(path, f"{self._kind(kind)}/{version}")
                    names[kind] = str(version)
                    _write_through(self._kind(kind))
        except BaseException:
            for kind in reversed(written):  # A full disk wants its room back.
                self._remove(kind, names[kind])
            raise

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

    def _kind(self, kind: str) -> str:
        return f"{self._path.rstrip('/')}/{kind}"

    def _listed(self, kind: str) -> set[int]:
        directory = self._kind(kind)
        if not self._fs.exists(directory):
            return set()
        names = (path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(directory, detail=False, refresh=True))
        return {int(name) for name in names if name.isdecimal() and name.isascii() and int(name) < 2**63}

    def _marked(self, kind: str) -> set[int]:
        base = self._kind(kind)
        return {v for v in self._listed(kind) if self._fs.exists(f"{base}/{v}/{_MARKERS[kind]}")}

    def _put(self, source: str, kind: str, name: str) -> None:
        """Copy a directory to a name under a kind, its marker last."""
        base = f"{self._kind(kind)}/{name}"
        files = sorted(path for path in pathlib.Path(source).rglob("*") if path.is_file())
        files.sort(key=lambda path: path.relative_to(source).as_posix() == _MARKERS[kind])
        for path in files:
            target = f"{base}/{path.relative_to(source).as_posix()}"
            self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self._fs.put_file(str(path), target)
            if self._local:
                # Whoever reads a version relies on its files: nobody has a reason to write to them again.
                os.chmod(target, 0o444)
                _write_through(target)
            elif self._fs.size(target) != path.stat().st_size:
                raise OSError(f"{target} has {self._fs.size(target)} bytes, {path.stat().st_size} were sent")
        if self._local:
            for folder, *_ in os.walk(base):
                _write_through(folder)

    def _remove(self, kind: str, name: str) -> None:
        path = f"{self._kind(kind)}/{name}"
        if not self._fs.exists(path):
            return
        if self._local and not name.startswith("."):
            # Renamed first, so that no reader ever sees half a directory under the version's name.
            aside = f"{self._kind(kind)}/{_STAGING}{name}-{uuid.uuid4().hex}"
            os.rename(path, aside)
            path = aside
        elif not self._local and self._fs.exists(marker := f"{path}/{_MARKERS[kind]}"):
            self._fs.rm_file(marker)
        self._fs.rm(path, recursive=True)

    def _remove_leftovers(self) -> None:
        """Remove what killed publications left on a file system: staged directories, and indexes without a tower."""
        if not self._local:
            return
        for kind in _MARKERS:
            if self._fs.exists(self._kind(kind)):
                for path in self._fs.ls(self._kind(kind), detail=False):
                    name = path.rsplit("/", 1)[-1]
                    if name.startswith(_STAGING):
                        self._remove(kind, name)
        for version in self._listed(EMBEDDING_INDEX) - self._listed(USER_TOWER):
            self._remove(EMBEDDING_INDEX, str(version))


def _write_through(path: str) -> None:
    """Have a file's content, or a directory's names, on the disk before anything relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

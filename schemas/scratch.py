"""Temporary files: in one directory, which goes with who made it, or with the next one if that was killed."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator

import filelock

_PREFIX = "matinee-run-"
_LOCK = ".lock"
_YOUNG_S = 60.0
"""A directory without a lock may be one whose process is about to make it."""


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """Have every temporary file of this process and its children in a directory of its own, removed at the end.

    TFX, Beam and TensorFlow leave some behind, and whoever is killed leaves all. Yields the directory.
    """
    base = pathlib.Path(tempfile.gettempdir())
    for left in base.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    directory = tempfile.mkdtemp(prefix=_PREFIX)
    try:
        with filelock.FileLock(f"{directory}/{_LOCK}", timeout=0):
            tempfile.tempdir = os.environ["TMPDIR"] = directory
            yield directory
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before[1]
        shutil.rmtree(directory, ignore_errors=True)


def _remove_if_left(directory: pathlib.Path) -> None:
    with contextlib.suppress(FileNotFoundError, filelock.Timeout):  # Another run removes it, or uses it.
        status = directory.lstat()
        if status.st_uid != os.getuid() or not directory.is_dir() or directory.is_symlink():
            return
        lock = directory / _LOCK
        if lock.exists() or time.time() - status.st_mtime > _YOUNG_S:
            with filelock.FileLock(lock, timeout=0):
                shutil.rmtree(directory, ignore_errors=True)

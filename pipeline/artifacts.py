"""Where a run's artifacts are."""

from __future__ import annotations

import pathlib

DEFAULT_OUTPUT = "output"
SERVING_FOLDER = "serving"
"""In an output directory: the served versions, unless they are elsewhere."""
DEFAULT_SERVING = f"{DEFAULT_OUTPUT}/{SERVING_FOLDER}"


def newest(output: str | pathlib.Path, key: str) -> pathlib.Path:
    """Return the directory of the latest artifact of an output channel.

    Args:
      output: Output directory of `matinee run`.
      key: Name of the channel, for example `examples`.

    Raises:
      ValueError: There is none.
    """
    found = pathlib.Path(output).glob(f"artifacts/*/{key}/*/")
    directory = max(found, key=lambda path: int(path.name), default=None)
    if directory is None:
        raise ValueError(f"no {key} in {str(output)!r}; run the pipeline first (matinee run --output {output})")
    return directory


def size(directory: str | pathlib.Path) -> int:
    """Return the bytes of a directory's files; two links are one file."""
    files = [path.stat() for path in pathlib.Path(directory).rglob("*") if path.is_file()]
    return sum({file.st_ino: file.st_size for file in files}.values())

"""A hash of our own code, for TFX's cache.

TFX keys its cache by inputs and parameters; changed code behind an import path would hit it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pathlib

PROPERTY = "code_hash"


def of(*modules: str) -> str:
    """Hash the Python and schema sources of modules and packages.

    Args:
      *modules: Import paths; a package stands for everything in its folder.

    Returns:
      The first 16 hexadecimal digits of the SHA-256.
    """
    digest = hashlib.sha256()
    for module in modules:
        origin = pathlib.Path(importlib.util.find_spec(module).origin)
        paths = sorted(origin.parent.rglob("*")) if origin.name == "__init__.py" else [origin]
        for path in paths:
            if path.suffix in (".py", ".pbtxt"):
                digest.update(path.relative_to(origin.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def of_file(path: str) -> str:
    """Hash a file's content: the first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:16]

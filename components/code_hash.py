"""A hash of our own code, for TFX's cache.

TFX keys its cache by inputs and parameters; changed code behind an import path would hit it. What a module runs is what
it imports, so that the hash is of the closure of its imports within the project.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import pathlib
from collections.abc import Iterator

PROPERTY = "code_hash"
_ROOT = pathlib.Path(__file__).parents[1]
_DIGITS = 16


def of(*modules: str, root: pathlib.Path = _ROOT) -> str:
    """Hash the sources of modules and of everything in the project that they import.

    Args:
      *modules: Import paths.
      root: Directory of the project's top-level packages.

    Returns:
      The first 16 hexadecimal digits of the SHA-256.
    """
    digest = hashlib.sha256()
    for path in sorted(path for paths in closure(*modules, root=root).values() for path in paths):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:_DIGITS]


def of_file(path: str) -> str:
    """Hash a file's content: the first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:_DIGITS]


def closure(*modules: str, root: pathlib.Path = _ROOT) -> dict[str, list[pathlib.Path]]:
    """Find what modules run of the project, without importing anything.

    An import counts wherever it stands, in a function as well, but for what the type checker alone sees. To import a
    module is to run its packages. A file beside a module, which its source names, belongs to it.

    Args:
      *modules: Import paths.
      root: Directory of the project's top-level packages.

    Returns:
      Import path -> the module's files.
    """
    found: dict[str, list[pathlib.Path]] = {}
    left = list(modules)
    while left:
        name = left.pop()
        source = _source(name, root)
        if source is None or name in found:
            continue
        tree = ast.parse(source.read_bytes())
        found[name] = [source, *_named_beside(tree, source)]
        package = name if source.name == "__init__.py" else name.rpartition(".")[0]
        left += [package, *_imports(tree, package)]
        if "." in package:
            left.append(package.rpartition(".")[0])
    return found


def _source(name: str, root: pathlib.Path) -> pathlib.Path | None:
    """Return a module's file; None for what is not the project's, or no module but a name in one."""
    path = root.joinpath(*name.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _named_beside(tree: ast.AST, source: pathlib.Path) -> list[pathlib.Path]:
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    # A text with an end of line, a separator or a NUL is no file's name.
    names = {text for text in texts if "." in text.strip(".") and text.isprintable() and "/" not in text}
    beside = (source.with_name(name) for name in names if len(name) < 256)
    return sorted(path for path in beside if path.suffix != ".py" and path.is_file())


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """List what a module imports: modules, and names that may be modules."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node, package)

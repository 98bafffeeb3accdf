"""A verified version as files that many processes map: read, checked and prepared once for all of them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any, TypeVar

import faiss
import numpy as np

from schemas import numpy_tower
from schemas.histories import Histories
from schemas.manifest import Manifest
from schemas.numpy_tower import NumpyTower
from schemas.strings import Strings
from schemas.vectors import Vectors
from serving.catalogue import Catalogue, PreparedIndex
from serving.rating_file import RatingFile
from serving.search import Heads
from serving.titles import TitleSearch

_MANIFEST, _RATINGS, _OWN_RATINGS, _FAISS = "manifest.json", "ratings.json", "ratings.npy", "index.faiss"
_SMALL_BYTES = 1 << 14
"""Arrays below are copied: a mapping takes a page at least."""

_Columns = TypeVar("_Columns", Catalogue, TitleSearch, Heads)


def stage(directory: str, index: PreparedIndex, tower: NumpyTower | None) -> None:
    """Write a verified version to an empty directory that nobody else writes to.

    The ratings are read from the published file where that is local, whose blocks keep their checksums.

    Args:
      directory: A local directory.
      index: The version's index, prepared for a service.
      tower: Its user tower, where that runs in the processes that serve.
    """
    path, ratings = pathlib.Path(directory), index.histories.ratings
    if not isinstance(ratings, RatingFile):
        np.save(path / _OWN_RATINGS, ratings[:])
        ratings = RatingFile(str(path / _OWN_RATINGS))
    assert index.titles is not None, "made before: of many titles it takes its time"
    arrays = {
        "embeddings": index.vectors.embeddings,
        "rating_vectors": index.vectors.rating_vectors,
        "similarity": index.similarity,
        "users": index.histories.users,
        "checksums": ratings.checksums,
        **dict(_arrays("catalogue", index.catalogue)),
        **dict(_arrays("titles", index.titles)),
        **(dict(_arrays("heads", index.heads)) if index.heads else {}),
    }
    if tower is not None:
        arrays |= {f"tower.{name}": values for name, values in numpy_tower.arrays_of(tower).items()}
    for name, values in arrays.items():
        np.save(path / f"{name}.npy", values)
    if index.faiss_index is not None:
        faiss.write_index(index.faiss_index, str(path / _FAISS))
    (path / _RATINGS).write_text(json.dumps(str(pathlib.Path(ratings.path).absolute())), encoding="utf-8")
    (path / _MANIFEST).write_text(index.manifest.to_json(), encoding="utf-8")


def read_staged(directory: str) -> tuple[PreparedIndex, NumpyTower | None]:
    """Map what `stage` has written.

    Raises:
      OSError: It is not there any more.
      ValueError: The published file of the ratings is another one by now.
    """
    path = pathlib.Path(directory)
    manifest = Manifest.from_json((path / _MANIFEST).read_bytes())
    arrays = {file.stem: _mapped(file) for file in path.glob("*.npy") if file.name != _OWN_RATINGS}
    ratings = RatingFile(json.loads((path / _RATINGS).read_text(encoding="utf-8")), arrays["checksums"])
    index = PreparedIndex(
        manifest,
        Vectors(arrays["embeddings"], arrays["rating_vectors"]),
        arrays["similarity"],
        Histories(arrays["users"], ratings, manifest.domain.scale),
        faiss.read_index(str(path / _FAISS), faiss.IO_FLAG_MMAP) if (path / _FAISS).exists() else None,
        _columns(Catalogue, "catalogue", arrays),
        _columns(TitleSearch, "titles", arrays),
        _columns(Heads, "heads", arrays) if "heads.heads" in arrays else None,
    )
    weights = {name.removeprefix("tower."): values for name, values in arrays.items() if name.startswith("tower.")}
    return index, numpy_tower.of_arrays(weights, manifest.domain) if weights else None


def _mapped(file: pathlib.Path) -> np.ndarray:
    if file.stat().st_size < _SMALL_BYTES:
        small: np.ndarray = np.load(file)
        return small
    # A plain view: NumPy's own class of mapped arrays makes every operation slower.
    return np.load(file, mmap_mode="r").view(np.ndarray)


def _arrays(prefix: str, columns: Catalogue | TitleSearch | Heads) -> Iterator[tuple[str, np.ndarray]]:
    for field in dataclasses.fields(columns):
        values = getattr(columns, field.name)
        if isinstance(values, Strings):
            yield f"{prefix}.{field.name}.data", values.data
            yield f"{prefix}.{field.name}.ends", values.ends
        elif values is not None:
            yield f"{prefix}.{field.name}", values


def _columns(kind: type[_Columns], prefix: str, arrays: dict[str, np.ndarray]) -> _Columns:
    def found(name: str) -> Any:
        if f"{name}.ends" in arrays:
            return Strings(arrays[f"{name}.data"], arrays[f"{name}.ends"])
        return arrays.get(name)

    return kind(**{field.name: found(f"{prefix}.{field.name}") for field in dataclasses.fields(kind)})

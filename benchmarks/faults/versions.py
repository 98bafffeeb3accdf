"""Versions that are damaged, or that somebody has made to do harm: none is ever put into use."""

from __future__ import annotations

import io
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from schemas import features as f
from schemas import manifest as m
from schemas.data_spec import movielens
from schemas.ingest import LINKS, LINKS_TYPE
from schemas.signatures import USER_TOWER

Damage = Callable[[pathlib.Path, pathlib.Path], None]
"""Takes the directories of a version's index and user tower, and spoils them."""

_INDEX_FILES = [
    m.MANIFEST_FILE,
    m.EMBEDDINGS_FILE,
    m.RATING_VECTORS_FILE,
    m.SIMILARITY_FILE,
    m.MOVIES_FILE,
    m.USERS_FILE,
    m.HISTORIES_FILE,
    m.USER_TOWER_FILE,
    f"{m.MOVIE_TOWER}/{m.SAVED_MODEL_FILE}",
]
_TOWER_FILES = [m.SAVED_MODEL_FILE, "variables/variables.index", "variables/variables.data-00000-of-00001"]


def copy_version(root: pathlib.Path, version: int) -> int:
    """Copy a version to the number behind it, writable; return that."""
    for kind in (m.EMBEDDING_INDEX, USER_TOWER):
        copy = root / kind / str(version + 1)
        shutil.copytree(root / kind / str(version), copy, copy_function=shutil.copyfile)
    edit_manifest(root / m.EMBEDDING_INDEX / str(version + 1), lambda values: values.update(version=version + 1))
    return version + 1


def edit_manifest(index: pathlib.Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and hash every file anew, so that its digests are those of what is there."""
    path = index / m.MANIFEST_FILE
    values = json.loads(path.read_text(encoding="utf-8"))
    values["files"] = {name: m.sha256(str(index / name)) for name in values["files"] if (index / name).is_file()}
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def _file_damages() -> dict[str, Damage]:
    def remove(path: pathlib.Path) -> None:
        path.unlink()

    def empty(path: pathlib.Path) -> None:
        path.write_bytes(b"")

    def cut(path: pathlib.Path) -> None:
        os.truncate(path, path.stat().st_size // 2)

    def flip(path: pathlib.Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)

    def link(path: pathlib.Path) -> None:
        path.rename(path.with_name("aside"))
        path.symlink_to("aside")

    def pipe(path: pathlib.Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def device(path: pathlib.Path) -> None:
        path.unlink()
        path.symlink_to("/dev/zero")

    def folder(path: pathlib.Path) -> None:
        path.unlink()
        path.mkdir()

    kinds = {
        "is missing": remove,
        "is empty": empty,
        "is cut off": cut,
        "has a wrong byte": flip,
        "is a link": link,
        "is a pipe": pipe,
        "is a device": device,
        "is a directory": folder,
    }

    def on(place: int, name: str, damage: Callable[[pathlib.Path], None], *directories: pathlib.Path) -> None:
        damage(directories[place] / name)

    return {
        f"{kind}/{name} {what}": partial(on, place, name, damage)
        for place, (kind, names) in enumerate(((m.EMBEDDING_INDEX, _INDEX_FILES), (USER_TOWER, _TOWER_FILES)))
        for name in names
        for what, damage in kinds.items()
    }


def _array_damages() -> dict[str, Damage]:
    def change(name: str, function: Callable[[np.ndarray], np.ndarray], index: pathlib.Path, _: pathlib.Path) -> None:
        buffer = io.BytesIO()
        np.save(buffer, function(np.load(index / name)))
        (index / name).write_bytes(buffer.getvalue())
        edit_manifest(index, lambda values: None)

    def put(field: str | None, row: object, value: object) -> Callable[[np.ndarray], np.ndarray]:
        def function(array: np.ndarray) -> np.ndarray:
            (array[field] if field else array)[row] = value
            return array

        return function

    vectors: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "of 16 dimensions": lambda a: a[:, :16],
        "of one dimension more": lambda a: np.pad(a, ((0, 0), (0, 1))),
        "of half the movies": lambda a: a[: len(a) // 2],
        "with one NaN": put(None, (0, 0), np.nan),
        "all NaN": lambda a: np.full_like(a, np.nan),
        "with an infinity": put(None, (-1, 3), np.inf),
        "of length 1,000": lambda a: a * 1000,
        "of length 0": lambda a: a * 0,
        "in float64": lambda a: a.astype(np.float64),
        "in one dimension": lambda a: a.ravel(),
        "of Python objects": lambda a: a.astype(object),
    }
    histories: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "of a movie outside": put("movie", 0, 10**6),
        "of a movie below 0": put("movie", -1, -1),
        "of 0 stars": put("step", 0, 0),
        "of 100 stars": put("step", 0, 200),
        "one too few": lambda a: a[:-1],
        "none": lambda a: a[:0],
        "as plain numbers": lambda a: a["timestamp"],
    }
    users: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "not in order": lambda a: a[::-1],
        "twice": put("user_id", 1, 1),
        "whose ratings end too late": put("end", -1, 10**9),
        "whose ratings end before they begin": put("end", 0, -5),
        "none": lambda a: a[:0],
    }
    return {
        f"{name}, hashed anew, {what}": partial(change, name, function)
        for name, functions in (
            (m.EMBEDDINGS_FILE, vectors),
            (m.RATING_VECTORS_FILE, vectors),
            (m.SIMILARITY_FILE, vectors),
            (m.HISTORIES_FILE, histories),
            (m.USERS_FILE, users),
        )
        for what, function in functions.items()
    }


def _catalogue_damages() -> dict[str, Damage]:
    def change(function: Callable[[pl.DataFrame], pl.DataFrame], index: pathlib.Path, _: pathlib.Path) -> None:
        function(pl.read_parquet(index / m.MOVIES_FILE)).write_parquet(index / m.MOVIES_FILE)
        edit_manifest(index, lambda values: None)

    def fewer_genres(movies: pl.DataFrame) -> pl.DataFrame:
        return movies.with_columns(pl.col(f.MOVIE_GENRES).list.head(3))

    functions: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
        "empty": lambda movies: movies.head(0),
        "not in order": lambda movies: movies.reverse(),
        "with a movie twice": lambda movies: pl.concat([movies.head(1), movies.head(movies.height - 1)]),
        "with a movie too many": lambda movies: pl.concat([movies, movies.tail(1)]),
        "without titles": lambda movies: movies.drop("title"),
        "without a title": lambda movies: movies.with_columns(pl.lit(None, pl.String).alias("title")),
        "with text for ids": lambda movies: movies.with_columns(pl.col(f.MOVIE_ID).cast(pl.String)),
        "with numbers for titles": lambda movies: movies.with_columns(pl.lit(1).alias("title")),
        "with three genres a movie": fewer_genres,
        "with a link that runs": lambda movies: movies.with_columns(
            pl.Series(LINKS, [[{"name": "x", "url": "javascript:alert(1)"}]] * movies.height, LINKS_TYPE)
        ),
        "with links of text": lambda movies: movies.with_columns(pl.lit("https://a.example").alias(LINKS)),
        "with NaN averages": lambda movies: movies.with_columns(
            pl.lit(float("nan"), pl.Float32).alias(f.MOVIE_AVERAGE_RATING)
        ),
    }
    return {f"a catalogue {what}": partial(change, function) for what, function in functions.items()}


def _manifest_damages() -> dict[str, Damage]:
    def set_to(**changes: object) -> Damage:
        return lambda index, _: edit_manifest(index, lambda values: values.update(changes))

    def probe(first: float, others: float) -> Damage:
        def change(values: dict[str, Any]) -> None:
            values["probe"] = [first] + [others] * (values["dim"] - 1)

        return lambda index, _: edit_manifest(index, change)

    def drop(*path: str) -> Damage:
        def change(values: dict[str, Any]) -> None:
            for part in path[:-1]:
                values = values[part]
            del values[path[-1]]

        return lambda index, _: edit_manifest(index, change)

    def named(name: str) -> Damage:
        return lambda index, _: edit_manifest(index, lambda values: values["files"].update({name: "0" * 64}))

    def written(text: str) -> Damage:
        def write(index: pathlib.Path, _: pathlib.Path) -> None:
            (index / m.MANIFEST_FILE).write_text(text, encoding="utf-8")

        return write

    damages: dict[str, Damage] = {
        "without a count": drop("counts", "users"),
        "without a probe": drop("probe"),
        "without digests": drop("files"),
        "without the tower's digests": drop("tower_files"),
        "with no digest of the tower": set_to(tower_files={}),
        "with an empty probe": set_to(probe=[]),
        "with a probe of NaN": probe(float("nan"), float("nan")),
        "with another probe": probe(1.0, 0.0),
        "with fewer means": set_to(genre_means=[3.5]),
        "with means of NaN": set_to(genre_means=[float("nan")] * movielens().num_categories),
        "with a mean of NaN": set_to(global_mean=float("nan")),
        "with an infinite mean": set_to(global_mean=1e39),
        "with a prior below 0": set_to(pseudo_ratings=-10.0),
        "with no dimension": set_to(dim=0),
        "with text for a dimension": set_to(dim="many"),
        "of another version": set_to(version=1),
        "of a version above 64 bits": set_to(version=2**64),
        "of another format": set_to(format=99),
        "without a format": drop("format"),
        "of a search that is not there": set_to(index_factory="HNSW32"),
        "with negative counts": set_to(counts={"movies": -1, "users": -1, "ratings": -1}),
        "that is empty": written(""),
        "that is a list": written("[]"),
        "that is a number": written("7"),
        "that is deep": written("[" * 100_000),
        "with a long number": written('{"format": ' + "9" * 5_000 + "}"),
        "that is no JSON": written("not at all"),
    }
    names = ("../../../../etc/hostname", "/etc/hostname", "..", ".", "", "a/../../b", "a\0b", "file:///etc/hostname")
    damages |= {f"that names {name!r}": named(name) for name in names}
    return {f"a manifest {what}": damage for what, damage in damages.items()}


def _other_tower(index: pathlib.Path, tower: pathlib.Path) -> None:
    """The movie tower in the place of the user tower."""
    shutil.rmtree(tower)
    shutil.copytree(index / m.MOVIE_TOWER, tower, copy_function=shutil.copyfile)


def _no_folder(index: pathlib.Path, tower: pathlib.Path) -> None:
    shutil.rmtree(tower / "variables")


def _pipe_beside(index: pathlib.Path, tower: pathlib.Path) -> None:
    (tower / "assets").mkdir(exist_ok=True)
    os.mkfifo(tower / "assets" / "pipe")


DAMAGES: dict[str, Damage] = {
    **_file_damages(),
    **_array_damages(),
    **_catalogue_damages(),
    **_manifest_damages(),
    "another tower": _other_tower,
    "a tower without variables": _no_folder,
    "a pipe beside a tower's files": _pipe_beside,
}
"""Name -> what is done to the newest version."""

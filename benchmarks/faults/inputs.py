"""Data sets that nobody means well with, or that something has broken: each is refused soon, in few words."""

from __future__ import annotations

import io
import os
import pathlib
import shutil
import zipfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_MOVIES = "movieId,title,genres\n" + "".join(f"{i},Film {i} (1999),Drama\n" for i in range(1, 51))
_HEADER = "userId,movieId,rating,timestamp\n"
_MEGABYTE = b"0" * (1 << 20)


def good_ratings(users: int = 40) -> str:
    """Return a small table of ratings."""
    rows = (
        f"{u},{m},{(u * m) % 10 / 2 + 0.5},{10**9 + 86400 * m + u}\n" for u in range(1, users) for m in range(1, 21)
    )
    return _HEADER + "".join(rows)


def write_good(directory: pathlib.Path) -> None:
    """Write a small data set that is in order."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "movies.csv").write_text(_MOVIES, encoding="utf-8")
    (directory / "ratings.csv").write_text(good_ratings(), encoding="utf-8")


def _zip(path: pathlib.Path, members: dict[str, bytes]) -> pathlib.Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _bomb(directory: pathlib.Path) -> pathlib.Path:
    """A gigabyte in a megabyte."""
    with zipfile.ZipFile(directory / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("movies.csv", _MOVIES)
        with archive.open("ratings.csv", "w", force_zip64=True) as file:
            file.write(_HEADER.encode())
            for _ in range(1024):
                file.write(_MEGABYTE)
    return directory / "bomb.zip"


def _many_members(directory: pathlib.Path) -> pathlib.Path:
    """A table many times over, in as many folders."""
    with zipfile.ZipFile(directory / "many.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(100):
            archive.writestr(f"{i}/ratings.csv", _MEGABYTE * 4)
    return directory / "many.zip"


def _encrypted(directory: pathlib.Path) -> pathlib.Path:
    path = _zip(directory / "encrypted.zip", {"ratings.csv": good_ratings().encode(), "movies.csv": _MOVIES.encode()})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(signature, at + 1)
    path.write_bytes(data)
    return path


def _damaged_zip(directory: pathlib.Path) -> pathlib.Path:
    path = _zip(directory / "damaged.zip", {"ratings.csv": good_ratings().encode(), "movies.csv": _MOVIES.encode()})
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)
    return path


def _long_line(directory: pathlib.Path) -> pathlib.Path:
    with (directory / "ratings.csv").open("ab") as file:
        for _ in range(400):
            file.write(_MEGABYTE)
        file.write(b"\n1,1,3.0,1000000000\n")
    return directory


def _long_header(directory: pathlib.Path) -> pathlib.Path:
    (directory / "ratings.csv").write_bytes(_MEGABYTE * 40)
    return directory


def _long_movie(directory: pathlib.Path) -> pathlib.Path:
    with (directory / "movies.csv").open("ab") as file:
        file.write(b"x" + _MEGABYTE * 50 + b",Title,Drama\n")
    return directory


def _no_line_end(directory: pathlib.Path) -> pathlib.Path:
    (directory / "ratings.csv").write_bytes(_HEADER.encode() + _MEGABYTE * 100)
    return directory


def _special(name: str, kind: str) -> Callable[[pathlib.Path], pathlib.Path]:
    def make(directory: pathlib.Path) -> pathlib.Path:
        path = directory / name
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "directory":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path)
        return directory

    return make


def _pipe(directory: pathlib.Path) -> pathlib.Path:
    os.mkfifo(directory / "pipe")
    return directory / "pipe"


def _bytes(name: str, data: bytes) -> Callable[[pathlib.Path], pathlib.Path]:
    def make(directory: pathlib.Path) -> pathlib.Path:
        (directory / pathlib.Path(name).with_suffix(".csv")).unlink()
        (directory / name).write_bytes(data)
        return directory

    return make


def _parquet(rows: int, **options: object) -> bytes:
    columns = {
        "userId": np.ones(rows, np.int64),
        "movieId": np.ones(rows, np.int64),
        "rating": np.ones(rows),
        "timestamp": np.ones(rows, np.int64),
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


def _huge_row_group(directory: pathlib.Path) -> pathlib.Path:
    (directory / "ratings.csv").unlink()
    rows = (1 << 26) + 1
    table = pa.table({name: pa.nulls(rows, pa.int8()) for name in _HEADER.strip().split(",")})
    pq.write_table(table, directory / "ratings.parquet", row_group_size=rows)
    return directory


def _random(size: int) -> bytes:
    return np.random.default_rng(0).bytes(size)


HOSTILE: dict[str, Callable[[pathlib.Path], pathlib.Path]] = {
    "a zip bomb": _bomb,
    "a table many times over in a zip": _many_members,
    "a zip with a password": _encrypted,
    "a damaged zip": _damaged_zip,
    "a zip without tables": lambda d: _zip(d / "other.zip", {"readme.txt": b"hello"}),
    "tables that climb out of a zip": lambda d: _zip(d / "slip.zip", {"../../readme.csv": b"hello"}),
    "a line of 400 MB": _long_line,
    "a header of 40 MB": _long_header,
    "a movie of 50 MB": _long_movie,
    "100 MB without a line end": _no_line_end,
    "ratings through a pipe": _special("ratings.csv", "pipe"),
    "movies through a pipe": _special("movies.csv", "pipe"),
    "ratings from a device": _special("ratings.csv", "device"),
    "ratings that are a directory": _special("ratings.csv", "directory"),
    "a link to itself": _special("ratings.csv", "loop"),
    "a pipe as the data set": _pipe,
    "ratings that are noise": _bytes("ratings.csv", _random(1 << 20)),
    "movies that are noise": _bytes("movies.csv", _random(1 << 20)),
    "ratings of zeros": _bytes("ratings.csv", bytes(1 << 20)),
    "a Parquet file of noise": _bytes("ratings.parquet", b"PAR1" + _random(1 << 16) + b"PAR1"),
    "a Parquet file cut off": _bytes("ratings.parquet", _parquet(10_000)[:-100]),
    "67 million rows of a Parquet file that has half a megabyte": _huge_row_group,
    "movies as a Parquet file of noise": _bytes("movies.parquet", b"PAR1" + _random(1 << 16) + b"PAR1"),
    "a Parquet file of ratings as movies": _bytes("movies.parquet", _parquet(10)),
}
"""Name -> makes it of a directory with a good data set; returns what to pass as `--data`."""


def write_hostile(name: str, directory: pathlib.Path) -> pathlib.Path:
    """Make one of `HOSTILE` in an empty directory; return what to pass as `--data`."""
    shutil.rmtree(directory, ignore_errors=True)
    write_good(directory)
    return HOSTILE[name](directory)

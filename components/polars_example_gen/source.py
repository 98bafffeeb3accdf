"""Where the ratings and movies lie: a directory or a zip, on disk or behind a URI, CSV or Parquet."""

from __future__ import annotations

import dataclasses
import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

import fsspec
import pyarrow.parquet as pq

from components.polars_example_gen.config import ExampleGenConfig

RATINGS = "ratings"
MOVIES = "movies"
_FORMATS = ("csv", "parquet")
_COPY_BYTES = 1 << 20
_LINE_BYTES = 1 << 13
_SMALL_BYTES = 64 << 20
_TOO_LONG = b",(goes on)\n"


@dataclasses.dataclass(frozen=True)
class Source:
    """One input table."""

    path: str
    """Path or URI of the file."""
    format: str
    """`csv` or `parquet`."""

    @property
    def name(self) -> str:
        """The file's name without its directory, as error messages show it."""
        return self.path.rsplit("/", 1)[-1]

    def open(self) -> IO[bytes]:
        """Open the file for reading bytes."""
        file: IO[bytes] = fsspec.open(self.path, "rb").open()
        return file

    def size(self) -> int:
        """The file's size in bytes."""
        fs, path = fsspec.core.url_to_fs(self.path)
        return fs.size(path)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A part of a table: a byte range of a CSV file, or one row group of a Parquet file."""

    source: Source
    start: int
    """First byte, or the row group's position."""
    end: int
    """Byte behind the last, or the row group's position + 1. The line that holds this byte belongs to the chunk."""


def find_sources(
    data: str, extract_to: str, max_unpacked_ratio: float = ExampleGenConfig.max_unpacked_ratio
) -> dict[str, Source]:
    """Find the ratings and movies tables in a data set.

    Args:
      data: A directory or a zip archive, local path or URI. In a zip the tables may lie in a folder; of several data
        sets the uppermost one is meant.
      extract_to: Directory to unpack a zip into, path or URI, because a byte range of a
        compressed member cannot be read directly.
      max_unpacked_ratio: How many times its own size a zip may unpack to.

    Returns:
      `{"ratings": Source, "movies": Source}`.

    Raises:
      ValueError: The data set does not exist, is not a zip that can be unpacked, or lacks a table.
    """
    fs, root = fsspec.core.url_to_fs(data)
    if fs.isfile(root):
        _extract(data, extract_to, max_unpacked_ratio * fs.size(root))
        return find_sources(extract_to, extract_to)
    return {name: _with_newlines(table, extract_to) for name, table in _tables(fs, root, data).items()}


def _tables(fs: fsspec.AbstractFileSystem, root: str, data: str) -> dict[str, Source]:
    if not fs.exists(root):
        raise ValueError(f"no data at {data!r}; pass a directory, a zip or a URI that holds ratings and movies")
    if not fs.isdir(root):
        raise ValueError(f"{data} is neither a directory nor a file")
    names = {path.rstrip("/").rsplit("/", 1)[-1]: path for path in fs.ls(root, detail=False)}
    return {table: _table(fs, names, table, data) for table in (RATINGS, MOVIES)}


def _with_newlines(table: Source, extract_to: str) -> Source:
    """Return a table whose lines end as they should: one of old Macs, with carriage returns alone, is copied."""
    if table.format == "parquet":
        return table
    with table.open() as file:
        begin = file.read(_LINE_BYTES)
    if b"\r" not in begin or b"\n" in begin:
        return table
    fs, directory = fsspec.core.url_to_fs(extract_to)
    fs.makedirs(directory, exist_ok=True)
    mended = Source(f"{extract_to}/with-newlines/{table.name}", table.format)
    fs.makedirs(f"{directory}/with-newlines", exist_ok=True)
    with table.open() as file, fs.open(f"{directory}/with-newlines/{table.name}", "wb") as copy:
        while block := file.read(_COPY_BYTES):
            copy.write(block.replace(b"\r", b"\n"))
    return mended


def _table(fs: fsspec.AbstractFileSystem, names: dict[str, str], table: str, data: str) -> Source:
    for form in _FORMATS:
        if f"{table}.{form}" in names:
            check_is_file(fs, names[f"{table}.{form}"])
            return Source(fs.unstrip_protocol(names[f"{table}.{form}"]).removeprefix("file://"), form)
    raise ValueError(
        f"{data} holds no {table}.csv or {table}.parquet (found: {', '.join(sorted(names)[:10]) or 'nothing'})"
    )


def check_is_file(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Raise ValueError unless there is a file: a pipe would be waited for, and a device never ends."""
    if not fs.isfile(path):
        raise ValueError(f"{path} is no file; pass one with the table")


def _extract(data: str, extract_to: str, most: float) -> None:
    """Unpack the tables of an archive, of no more than so many bytes or 64 MiB."""
    target_fs, target = fsspec.core.url_to_fs(extract_to)
    target_fs.makedirs(target, exist_ok=True)
    room = max(most, _SMALL_BYTES)
    with fsspec.open(data, "rb") as packed:
        if not zipfile.is_zipfile(packed):
            raise ValueError(f"{data} is neither a directory nor a zip archive")
        try:
            with zipfile.ZipFile(packed) as archive:
                for member in _members(archive.namelist(), data):
                    name = member.rsplit("/", 1)[-1]
                    with archive.open(member) as source, target_fs.open(f"{target}/{name}", "wb") as file:
                        while block := source.read(_COPY_BYTES):
                            room -= len(block)
                            if room < 0:
                                raise ValueError(
                                    f"{data} unpacks to more than {max(most, _SMALL_BYTES):,.0f} bytes; if that "
                                    "is right, unpack it yourself, or raise --max-unpacked-ratio"
                                )
                            file.write(block)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{data} cannot be unpacked: {error}. Pack it again without a password") from error


def _members(names: Sequence[str], data: str) -> list[str]:
    """Return an archive's tables: those of the one data set that lies uppermost.

    Raises:
      ValueError: There is none, or more than one.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        directory, _, base = name.rpartition("/")
        table, _, form = base.rpartition(".")
        if table in (RATINGS, MOVIES) and form in _FORMATS and "__MACOSX" not in directory.split("/"):
            found.setdefault(directory, {}).setdefault(table, []).append(name)
    sets = [tables for tables in found.values() if len(tables) == 2]
    if not sets:
        inside = ", ".join(sorted(names)[:10]) or "nothing"
        raise ValueError(f"{data} holds no folder with both ratings and movies (inside: {inside}); unpack it yourself")
    depths = [tables[RATINGS][0].count("/") for tables in sets]
    uppermost = [tables for tables, depth in zip(sets, depths, strict=True) if depth == min(depths)]
    members = [name for tables in uppermost for table in tables.values() for name in table]
    if len(members) > 2:
        raise ValueError(f"{data} holds a table more than once ({', '.join(members)}); leave one of each in it")
    return members


def fingerprint(data: str) -> str:
    """Hash the content of a data set's tables, so that a touched file changes nothing and an edited one does.

    Args:
      data: As in `find_sources`.

    Returns:
      Hexadecimal SHA-256 over the tables' names and bytes; of a zip, over the archive's bytes.
    """
    fs, root = fsspec.core.url_to_fs(data)
    if fs.isfile(root):
        sources = [Source(data, "zip")]
    else:
        sources = list(_tables(fs, root, data).values())
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.name.encode())
        with source.open() as file:
            while block := file.read(_COPY_BYTES):
                digest.update(block)
    return digest.hexdigest()


def chunks(source: Source, header_bytes: int, chunk_bytes: int) -> Iterator[Chunk]:
    """Cut a table into chunks.

    Args:
      source: The table.
      header_bytes: Length of a CSV file's header line, byte-order mark and line end inside.
      chunk_bytes: Length of a CSV chunk.
    """
    if source.format == "parquet":
        with source.open() as file:
            groups = pq.ParquetFile(file).metadata.num_row_groups
        yield from (Chunk(source, i, i + 1) for i in range(groups))
    else:
        size = source.size()
        # The last chunk takes the rest, up to twice the length: a cut-off last line is told by the lines before it.
        starts = list(range(header_bytes, max(size - chunk_bytes + 1, header_bytes + 1), chunk_bytes))
        yield from (Chunk(source, start, end) for start, end in zip(starts, [*starts[1:], size], strict=True))


def read_bytes(chunk: Chunk, max_line_bytes: int) -> tuple[bytes, int]:
    """Read the lines that start in a CSV chunk.

    Args:
      chunk: Part of the table.
      max_line_bytes: How much of its last line may lie behind it; one that is longer is cut, and a field too long.

    Returns:
      The whole lines and the offset of the first one in the file.
    """
    with chunk.source.open() as file:
        # A line belongs to the chunk that holds its first byte; the one before the first chunk is the header.
        file.seek(chunk.start - 1)
        if file.read(1) != b"\n":
            _skip_line(file)
        begin = file.tell()
        if begin >= chunk.end:
            return b"", begin
        data = file.read(chunk.end - begin)
        if data.endswith(b"\n"):
            return data, begin
        rest = read_line(file, max_line_bytes)
        return data + (rest if len(rest) < max_line_bytes or rest.endswith(b"\n") else rest + _TOO_LONG), begin


def read_line(file: IO[bytes], most: int) -> bytes:
    """Read the rest of a line, or so many bytes of it; fsspec's files have no such limit."""
    start, line = file.tell(), b""
    while len(line) < most and (block := file.read(min(_LINE_BYTES, most - len(line)))):
        end = block.find(b"\n") + 1
        if end:
            file.seek(start + len(line) + end)
            return line + block[:end]
        line += block
    return line


def _skip_line(file: IO[bytes]) -> None:
    while (part := read_line(file, _COPY_BYTES)) and not part.endswith(b"\n"):
        pass


def count_lines(source: Source, until: int) -> int:
    """Count the line ends before an offset of a CSV file."""
    lines = 0
    with source.open() as file:
        while until > 0 and (block := file.read(min(_COPY_BYTES, until))):
            lines += block.count(b"\n")
            until -= len(block)
    return lines

"""Where the ratings and movies lie: a directory or a zip, on disk or behind a URI, CSV or Parquet."""

from __future__ import annotations

import dataclasses
import hashlib
import lzma
import math
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
_SUFFIXES = {"gzip": ".gz", "bz2": ".bz2", "xz": ".xz"}
"""Of compressed files, by fsspec's names of the compression."""
_COPY_BYTES = 1 << 20
_LINE_BYTES = 1 << 13
_SMALL_BYTES = 64 << 20
_TOO_LONG = b",(goes on)\n"


@dataclasses.dataclass(frozen=True)
class Source:
    """One input table, or a file of it."""

    path: str
    """Path or URI of the file, or of the directory of its parts."""
    format: str
    """`csv` or `parquet`."""
    parts: tuple[Source, ...] = ()
    """The files in a directory, as Spark and Polars write tables; none of a single file."""
    within: str = ""
    """Name of that directory, of a part."""
    packed: str | None = None
    """fsspec's name of the compression, of a compressed file."""

    @property
    def files(self) -> tuple[Source, ...]:
        """The table's files."""
        return self.parts or (self,)

    @property
    def name(self) -> str:
        """The file's name without the data set's directory, as error messages show it."""
        return self.within + self.path.rsplit("/", 1)[-1]

    def open(self) -> IO[bytes]:
        """Open the file for reading bytes."""
        file: IO[bytes] = fsspec.open(self.path, "rb", compression=self.packed).open()
        return file

    def size(self) -> int:
        """The size in bytes."""
        if self.parts:
            return sum(part.size() for part in self.parts)
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
    tables = _tables(fs, root, data)
    return {name: _plain(table, extract_to, max_unpacked_ratio) for name, table in tables.items()}


def _tables(fs: fsspec.AbstractFileSystem, root: str, data: str) -> dict[str, Source]:
    if not fs.exists(root):
        raise ValueError(f"no data at {data!r}; pass a directory, a zip or a URI that holds ratings and movies")
    if not fs.isdir(root):
        raise ValueError(f"{data} is neither a directory nor a file")
    names = {path.rstrip("/").rsplit("/", 1)[-1]: path for path in fs.ls(root, detail=False)}
    return {table: _table(fs, names, table, data) for table in (RATINGS, MOVIES)}


def _plain(table: Source, extract_to: str, max_unpacked_ratio: float) -> Source:
    """Return a table of which byte ranges can be read, and whose lines end with a line feed, or such a copy of it."""
    if table.parts:
        parts = tuple(_plain(part, extract_to, max_unpacked_ratio) for part in table.parts)
        return dataclasses.replace(table, parts=parts)
    if table.format == "parquet":
        return table
    most = max(max_unpacked_ratio * table.size(), _SMALL_BYTES) if table.packed else math.inf
    try:
        with table.open() as file:
            begin = file.read(_LINE_BYTES)
            old_mac = b"\r" in begin and b"\n" not in begin
            if not (table.packed or old_mac):
                return table
            fs, directory = fsspec.core.url_to_fs(extract_to)
            place = f"plain/{table.name.removesuffix(_SUFFIXES[table.packed] if table.packed else '')}"
            fs.makedirs(f"{directory}/{place.rpartition('/')[0]}", exist_ok=True)
            file.seek(0)
            with fs.open(f"{directory}/{place}", "wb") as copy:
                while block := file.read(_COPY_BYTES):
                    most -= len(block)
                    if most < 0:
                        raise _unpacks_to_too_much(table.path, max(max_unpacked_ratio * table.size(), _SMALL_BYTES))
                    copy.write(block.replace(b"\r", b"\n") if old_mac else block)
    except (zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The system's; a decompressor's has no number.
        raise ValueError(f"{table.path} cannot be unpacked: {error}. Pack it again") from error
    return dataclasses.replace(table, path=f"{extract_to}/{place}", packed=None)


def _unpacks_to_too_much(data: str, most: float) -> ValueError:
    return ValueError(
        f"{data} unpacks to more than {most:,.0f} bytes; if that is right, unpack it yourself, or raise "
        "--max-unpacked-ratio"
    )


def _table(fs: fsspec.AbstractFileSystem, names: dict[str, str], table: str, data: str) -> Source:
    for form in _FORMATS:
        if path := names.get(f"{table}.{form}"):
            whole = Source(fs.unstrip_protocol(path).removeprefix("file://"), form)
            if fs.isdir(path):
                return dataclasses.replace(whole, parts=_parts(fs, path, whole))
            check_is_file(fs, path)
            return whole
    for packed, suffix in _SUFFIXES.items():
        if path := names.get(f"{table}.csv{suffix}"):
            check_is_file(fs, path)
            return Source(fs.unstrip_protocol(path).removeprefix("file://"), "csv", packed=packed)
    raise ValueError(
        f"{data} holds no {table}.csv or {table}.parquet (found: {', '.join(sorted(names)[:10]) or 'nothing'})"
    )


def _parts(fs: fsspec.AbstractFileSystem, path: str, whole: Source) -> tuple[Source, ...]:
    """Return the files of a table that is a directory, by name; what begins with _ or . is the writer's own."""
    parts = []
    for part in sorted(fs.ls(path, detail=False)):
        name = part.rstrip("/").rsplit("/", 1)[-1]
        if name.startswith(("_", ".")):
            continue
        if not name.endswith(f".{whole.format}"):
            raise ValueError(f"{whole.path} holds {name}; expected .{whole.format} files and nothing else")
        check_is_file(fs, part)
        parts.append(Source(f"{whole.path.rstrip('/')}/{name}", whole.format, within=f"{whole.name}/"))
    if not parts:
        raise ValueError(f"{whole.path} is a directory without .{whole.format} files")
    return tuple(parts)


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
                                raise _unpacks_to_too_much(data, max(most, _SMALL_BYTES))
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
        for part in source.files:
            digest.update(part.name.encode())
            with part.open() as file:
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

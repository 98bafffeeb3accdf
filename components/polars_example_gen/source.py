"""Where the ratings and movies lie: a directory or an archive, on disk or behind a URI, text or Parquet."""

from __future__ import annotations

import codecs
import dataclasses
import fnmatch
import hashlib
import lzma
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import IO

import fsspec
import zstandard

from components.polars_example_gen import archive
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.csv_records import Dialect
from schemas.data_spec import DataSpec, TableSpec, named
from schemas.ingest import SPAN, WITHDRAWN_FILE

RATINGS = "ratings"
MOVIES = "movies"
LINKS = "links"
"""Only where the specification knows of such a table, and it is there."""
WITHDRAWN = "withdrawn"
"""What was taken back, where there is such a table: of every span, whatever the window."""
_WITHDRAWN_SPEC = TableSpec(files=(WITHDRAWN_FILE,))
_SUFFIXES = {"gzip": ".gz", "bz2": ".bz2", "xz": ".xz", "zstd": ".zst"}
"""Of compressed files, by fsspec's names of the compression."""
_UNIT_SEPARATOR = "\x1f"
"""Stands for a separator of several characters, which no reader of tables knows."""
_HINT = "; other files are told by a data specification (--data-spec, matinee data inspect)"
_COPY_BYTES = 1 << 20
_LINE_BYTES = 1 << 13
_SMALL_BYTES = archive.SMALL_BYTES


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


def tables_of(spec: DataSpec) -> dict[str, TableSpec]:
    """Return how each table is written that a data set must have."""
    return {RATINGS: spec.ratings, MOVIES: spec.items}


def all_tables_of(spec: DataSpec) -> dict[str, TableSpec]:
    """Return how each table is written, those that may be missing as well."""
    return tables_of(spec) | ({LINKS: spec.links} if spec.links else {}) | {WITHDRAWN: _WITHDRAWN_SPEC}


def dialect_of(spec: TableSpec) -> Dialect:
    """Return how a table's text is written once `find_sources` has made it readable."""
    return Dialect(spec.separator if len(spec.separator) == 1 else _UNIT_SEPARATOR, spec.quote, spec.escape)


def find_sources(
    data: str,
    extract_to: str,
    max_unpacked_ratio: float = ExampleGenConfig.max_unpacked_ratio,
    spec: DataSpec | None = None,
    span_window: int = 0,
) -> dict[str, Source]:
    """Find the ratings and movies tables in a data set.

    Args:
      data: A directory or an archive (zip or tar), local path or URI. In an archive the tables may lie in a folder; of
        several data sets the uppermost one is meant. With `{SPAN}` in it, all the directories that have a number there.
      extract_to: Directory to unpack into, path or URI, because a byte range of a
        compressed file cannot be read directly.
      max_unpacked_ratio: How many times its own size an archive or a compressed file may unpack to.
      spec: The data specification; MovieLens' by default.
      span_window: How many of the latest spans are read; 0: all.

    Returns:
      `{"ratings": Source, "movies": Source}`, and `"links"` where there is such a table.

    Raises:
      ValueError: The data set does not exist, is no archive that can be unpacked, or lacks a table.
    """
    spec = spec or named()
    fs, root = fsspec.core.url_to_fs(data)
    if SPAN not in data and fs.isfile(root):
        archive.unpack(
            data, extract_to, max_unpacked_ratio * fs.size(root), lambda names: _table_files(names, spec, data)
        )
        return find_sources(extract_to, extract_to, max_unpacked_ratio, spec)
    tables = _tables(fs, root, data, spec, span_window)
    return {
        name: _readable(table, all_tables_of(spec)[name], extract_to, max_unpacked_ratio)
        for name, table in tables.items()
    }


def _tables(
    fs: fsspec.AbstractFileSystem, root: str, data: str, spec: DataSpec, span_window: int = 0
) -> dict[str, Source]:
    if SPAN in root:
        return _of_spans(fs, root, data, spec, span_window)
    if not fs.exists(root):
        raise ValueError(f"no data at {data!r}; pass a directory, an archive or a URI that holds ratings and movies")
    if not fs.isdir(root):
        raise ValueError(f"{data} is neither a directory nor a file")
    names = _names(fs, root)
    tables = {table: _table(fs, names, wanted, data) for table, wanted in tables_of(spec).items()}
    if table_matches(names, _WITHDRAWN_SPEC):
        tables[WITHDRAWN] = _table(fs, names, _WITHDRAWN_SPEC, data)
    return tables | _links(fs, names, spec, data)


def _links(fs: fsspec.AbstractFileSystem, names: dict[str, str], spec: DataSpec, data: str) -> dict[str, Source]:
    if spec.links is None or not table_matches(names, spec.links):
        return {}
    return {LINKS: _table(fs, names, spec.links, data)}


def _names(fs: fsspec.AbstractFileSystem, root: str) -> dict[str, str]:
    return {path.rstrip("/").rsplit("/", 1)[-1]: path for path in fs.ls(root, detail=False)}


def spans(data: str) -> dict[int, str]:
    """Return the directories that a path or URI with `{SPAN}` stands for, by their numbers, the latest last.

    Raises:
      ValueError: There is none.
    """
    fs, root = fsspec.core.url_to_fs(data)
    before, _, behind = root.partition(SPAN)
    place = re.compile(rf"{re.escape(before)}(\d+){re.escape(behind.rstrip('/'))}")
    found = {}
    for path in fs.glob(f"{before}*{behind}"):
        if match := place.fullmatch(path.rstrip("/")):
            found[int(match[1])] = path
    if not found:
        raise ValueError(f"no data at {data!r}: no directory has a number in place of {SPAN}")
    return dict(sorted(found.items()))


def _of_spans(
    fs: fsspec.AbstractFileSystem, root: str, data: str, spec: DataSpec, span_window: int
) -> dict[str, Source]:
    """Return the ratings of all spans, or the latest ones, and the movies of the latest span with a table of them."""
    named_paths = {span: _names(fs, path) for span, path in spans(data).items()}
    latest = list(named_paths)[-span_window:]
    parts = []
    for span in latest:
        table = _table(fs, named_paths[span], spec.ratings, data.replace(SPAN, str(span)))
        parts += [dataclasses.replace(part, within=f"{span}/{part.within}") for part in table.files]
    if len({part.format for part in parts}) > 1:
        raise ValueError(f"{data} holds ratings as CSV and as Parquet; write all spans alike")
    with_movies = [span for span, names in named_paths.items() if table_matches(names, spec.items)] or latest
    newest = with_movies[-1]
    place = data.replace(SPAN, str(newest))
    movies = _table(fs, named_paths[newest], spec.items, place)
    tables = {RATINGS: Source(root, parts[0].format, tuple(parts)), MOVIES: movies}
    taken_back = [
        dataclasses.replace(_table(fs, names, _WITHDRAWN_SPEC, data), within=f"{span}/")
        for span, names in named_paths.items()
        if table_matches(names, _WITHDRAWN_SPEC)
    ]
    if taken_back:
        tables[WITHDRAWN] = Source(root, "csv", tuple(taken_back))
    return tables | _links(fs, named_paths[newest], spec, place)


def _readable(table: Source, spec: TableSpec, extract_to: str, max_unpacked_ratio: float) -> Source:
    """Return a table of which byte ranges can be read as lines of UTF-8, or such a copy of it."""
    if table.parts:
        parts = tuple(_readable(part, spec, extract_to, max_unpacked_ratio) for part in table.parts)
        return dataclasses.replace(table, parts=parts)
    if table.format == "parquet":
        return table
    most = max(max_unpacked_ratio * table.size(), _SMALL_BYTES) if table.packed else math.inf
    try:
        with table.open() as file:
            begin = file.read(_LINE_BYTES)
        old_mac = b"\r" in begin and b"\n" not in begin
        other = codecs.lookup(spec.encoding).name not in ("utf-8", "ascii") or len(spec.separator) > 1
        if not (table.packed or old_mac or other):
            return table
        fs, directory = fsspec.core.url_to_fs(extract_to)
        place = f"plain/{table.name.removesuffix(_SUFFIXES[table.packed] if table.packed else '')}"
        fs.makedirs(f"{directory}/{place.rpartition('/')[0]}", exist_ok=True)
        with table.open() as file, fs.open(f"{directory}/{place}", "wb") as copy:
            for block in _blocks(file, spec) if other else iter(lambda: file.read(_COPY_BYTES), b""):
                most -= len(block)
                if most < 0:
                    raise archive.too_much(table.path, max(max_unpacked_ratio * table.size(), _SMALL_BYTES))
                copy.write(block.replace(b"\r", b"\n") if old_mac else block)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The system's; a decompressor's has no number.
        raise ValueError(f"{table.path} cannot be unpacked: {error}. Pack it again") from error
    return dataclasses.replace(table, path=f"{extract_to}/{place}", packed=None)


def _blocks(file: IO[bytes], spec: TableSpec) -> Iterator[bytes]:
    """Read a text as UTF-8, with one character between two fields."""
    decoder = codecs.getincrementaldecoder(spec.encoding)("replace")
    separator, left, block = spec.separator, "", b"more"
    while block:
        block = file.read(_COPY_BYTES)
        text = left + decoder.decode(block, final=not block)
        if len(separator) > 1:
            text = text.replace(separator, _UNIT_SEPARATOR)
        # What may be the beginning of a separator waits for what comes behind it.
        begun = [n for n in range(1, len(separator)) if block and text.endswith(separator[:n])]
        kept = len(text) - max(begun, default=0)
        text, left = text[:kept], text[kept:]
        yield text.encode("utf-8", "replace")


def _forms(spec: TableSpec) -> list[str]:
    """Return the patterns of a table's file, a name without an ending with those that it stands for."""
    forms = []
    for pattern in spec.files:
        forms += [pattern] if set(".*?[") & set(pattern) else [f"{pattern}.csv", f"{pattern}.parquet"]
    return forms


def table_matches(names: Iterable[str], spec: TableSpec) -> list[str]:
    """Return the names, without directories, that the first of a table's patterns which fits any of them fits."""
    for form in _forms(spec):
        for suffix in ("", *(() if form.endswith(".parquet") else _SUFFIXES.values())):
            if found := sorted({name for name in names if fnmatch.fnmatchcase(name, form + suffix)}):
                return found
    return []


def packed_as(name: str) -> tuple[str, str] | None:
    """Return fsspec's name of a file's compression and the ending that says so; None of a plain file."""
    return next((pair for pair in _SUFFIXES.items() if name.endswith(pair[1])), None)


def _packed(name: str) -> str | None:
    packed = packed_as(name)
    return packed[0] if packed else None


def _source(path: str, name: str, spec: TableSpec) -> Source:
    return Source(path, spec.format or ("parquet" if name.endswith(".parquet") else "csv"))


def table_at(path: str, spec: TableSpec, extract_to: str) -> Source:
    """Return a table that lies at a path or URI, as `find_sources` does those of a data set.

    Raises:
      ValueError: There is no file, or it cannot be unpacked.
    """
    fs, name = fsspec.core.url_to_fs(path)
    check_is_file(fs, name)
    table = dataclasses.replace(_source(path, name, spec), packed=_packed(name))
    return _readable(table, spec, extract_to, ExampleGenConfig.max_unpacked_ratio)


def _table(fs: fsspec.AbstractFileSystem, names: dict[str, str], spec: TableSpec, data: str) -> Source:
    found = table_matches(names, spec)
    if not found:
        inside = ", ".join(sorted(names)[:10]) or "nothing"
        raise ValueError(f"{data} holds no {' or '.join(_forms(spec))} (found: {inside}){_HINT}")
    if len(found) > 1:
        raise ValueError(f"{data} holds {' and '.join(found)} for one table; leave one of them there")
    (name,) = found
    path = names[name]
    whole = _source(fs.unstrip_protocol(path).removeprefix("file://"), name, spec)
    if fs.isdir(path):
        return dataclasses.replace(whole, parts=_parts(fs, path, whole))
    check_is_file(fs, path)
    return dataclasses.replace(whole, packed=_packed(name))


def _parts(fs: fsspec.AbstractFileSystem, path: str, whole: Source) -> tuple[Source, ...]:
    """Return the files of a table that is a directory, by name; what begins with _ or . is the writer's own."""
    parts = []
    for part in sorted(fs.ls(path, detail=False)):
        name = part.rstrip("/").rsplit("/", 1)[-1]
        if name.startswith(("_", ".")):
            continue
        packed = _packed(name) if whole.format == "csv" else None
        if not name.removesuffix(_SUFFIXES[packed] if packed else "").endswith(f".{whole.format}"):
            raise ValueError(f"{whole.path} holds {name}; expected .{whole.format} files and nothing else")
        check_is_file(fs, part)
        place = f"{whole.path.rstrip('/')}/{name}"
        parts.append(Source(place, whole.format, within=f"{whole.name}/", packed=packed))
    if not parts:
        raise ValueError(f"{whole.path} is a directory without .{whole.format} files")
    return tuple(parts)


def check_is_file(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Raise ValueError unless there is a file: a pipe would be waited for, and a device never ends."""
    if not fs.isfile(path):
        raise ValueError(f"{path} is no file; pass one with the table")


def _table_files(names: list[str], spec: DataSpec, data: str) -> list[str] | None:
    """Return an archive's tables: those of the one data set that lies uppermost; None where there is none.

    Raises:
      ValueError: There is more than one.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        if base and "__MACOSX" not in folder.split("/") and not base.startswith("._"):
            folders.setdefault(folder, []).append(base)
    complete = {
        folder: bases
        for folder, bases in folders.items()
        if all(table_matches(bases, wanted) for wanted in tables_of(spec).values())
    }
    if not complete:
        return None
    # Each form of a table beside another one is a table.
    least = min(_depth(folder) for folder in complete)
    found = [
        [
            f"{folder}/{name}".lstrip("/")
            for folder, bases in complete.items()
            if _depth(folder) == least
            for name in sorted(bases)
            if table_matches([name], wanted)
        ]
        for wanted in all_tables_of(spec).values()
    ]
    tables = [name for files in found for name in files]
    if any(len(files) > 1 for files in found):
        raise ValueError(f"{data} holds a table more than once ({', '.join(tables)}); leave one of each in it")
    return tables


def _depth(folder: str) -> int:
    return folder.count("/") + bool(folder)


def fingerprint(data: str, spec: DataSpec | None = None, span_window: int = 0) -> str:
    """Hash the content of a data set's tables, so that a touched file changes nothing and an edited one does.

    Args:
      data: As in `find_sources`.
      spec: Likewise.
      span_window: Likewise.

    Returns:
      Hexadecimal SHA-256 over the tables' names and bytes; of an archive, over its bytes.
    """
    fs, root = fsspec.core.url_to_fs(data)
    if SPAN not in data and fs.isfile(root):
        sources = [Source(data, "archive")]
    else:
        sources = list(_tables(fs, root, data, spec or named(), span_window).values())
    digest = hashlib.sha256()
    for source in sources:
        for part in source.files:
            digest.update(part.name.encode())
            with part.open() as file:
                while block := file.read(_COPY_BYTES):
                    digest.update(block)
    return digest.hexdigest()


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

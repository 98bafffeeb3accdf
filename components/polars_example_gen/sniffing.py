"""The beginnings of tables, however they are written."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import io
import itertools
import json
from collections.abc import Sequence

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.polars_example_gen.csv_records import records
from components.polars_example_gen.source import dialect_of, packed_as
from schemas.data_spec import TableSpec

_HEAD_BYTES = 4 << 20
_ROWS = 5_000
_ENDINGS = (".csv", ".tsv", ".dat", ".txt", ".data", ".item", ".psv", ".parquet", ".pq")
_SEPARATORS = ("::", "\t", ";", ",", "|")
_CONSISTENT = 0.9
"""Share of the lines that have as many fields as most of them."""


@dataclasses.dataclass(frozen=True)
class Head:
    """The beginning of a table."""

    file: str
    spec: TableSpec
    columns: pl.DataFrame
    """Text, by the columns' names."""

    def numbers(self, name: str) -> pl.Series:
        """What stands in a column as numbers; null where it is none."""
        return self.values(name).str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)

    def values(self, name: str) -> pl.Series:
        """What stands in a column, without empty cells and spaces around."""
        values = self.columns[name].str.strip_chars()
        return values.filter(values != "")


def tables_among(names: list[str]) -> list[str] | None:
    """Return the files of an archive that may be tables: of the folder with most of them, the uppermost of such."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        if is_table(base) and "__MACOSX" not in folder.split("/"):
            folders.setdefault(folder, []).append(name)
    folders = {folder: found for folder, found in folders.items() if len(found) > 1}
    if not folders:
        return None
    return max(folders.items(), key=lambda pair: (len(pair[1]), -pair[0].count("/")))[1]


def is_table(name: str) -> bool:
    """Whether a file may be a table, by its name."""
    packed = packed_as(name)
    return not name.startswith((".", "_")) and name.removesuffix(packed[1] if packed else "").lower().endswith(_ENDINGS)


def sniff(fs: fsspec.AbstractFileSystem, path: str, name: str) -> Head | None:
    """Read the beginning of a file, however it is written; None where it is no table."""
    packed = packed_as(name)
    plain = name.removesuffix(packed[1] if packed else "")
    spec = TableSpec((plain,), format="parquet" if plain.endswith((".parquet", ".pq")) else "csv")
    if spec.format == "parquet":
        return read(fs, path, name, spec)
    text, encoding = _decoded(_head(fs, path, name))
    best: tuple[float, int, TableSpec] | None = None
    for separator, quote in itertools.product(_SEPARATORS, ('"', "")):
        tried = dataclasses.replace(spec, separator=separator, quote=quote, encoding=encoding)
        lines = io.StringIO(_joined(text[: 1 << 16], tried), newline="\n")
        lengths = [len(record.fields or ()) for record in records(lines, dialect_of(tried))][:-1]
        if not lengths:
            continue
        length, count = collections.Counter(lengths).most_common(1)[0]
        rank = round(count / len(lengths), 2), length
        if length > 1 and rank[0] >= _CONSISTENT and (best is None or rank > best[:2]):
            best = *rank, tried
    if best is None:
        return None
    spec = best[2]
    first = next(records(io.StringIO(_joined(text, spec), newline="\n"), dialect_of(spec)), None)
    if first is None or not first.fields:
        return None
    if not _is_header(first.fields):
        spec = dataclasses.replace(spec, header=tuple(f"column {i}" for i in range(1, len(first.fields) + 1)))
    return read(fs, path, name, spec)


def _is_header(fields: Sequence[str]) -> bool:
    """Whether a first line names columns: no number is among its fields, and none is twice or empty."""
    names = [field.strip() for field in fields]
    return all(names) and len(set(names)) == len(names) and not any(_is_number(name) for name in names)


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False


def read(fs: fsspec.AbstractFileSystem, path: str, name: str, spec: TableSpec) -> Head | None:
    """Read the beginning of a table as a specification says; None where it is not written so."""
    if fs.isdir(path):
        parts = sorted(part for part in fs.ls(path, detail=False) if is_table(part.rsplit("/", 1)[-1]))
        return read(fs, parts[0], parts[0].rsplit("/", 1)[-1], spec) if parts else None
    if name.endswith((".parquet", ".pq")):
        try:
            with fs.open(path, "rb") as file:
                batch = next(pq.ParquetFile(file).iter_batches(_ROWS), None)
        except (pa.ArrowException, OSError):
            return None
        if batch is None:
            return None
        lists = {column: [_text(value) for value in values] for column, values in batch.to_pydict().items()}
        return Head(name, spec, pl.DataFrame(lists, schema=dict.fromkeys(lists, pl.String)))
    text = _joined(_head(fs, path, name).decode(spec.encoding, "replace").removeprefix("\ufeff"), spec)
    found = list(itertools.islice(records(io.StringIO(text, newline="\n"), dialect_of(spec)), _ROWS))
    header = spec.header or (tuple(field.strip() for field in found.pop(0).fields or ()) if found else ())
    if len(set(header)) < len(header) or not header:
        return None
    rows = [record.fields for record in found if record.fields and len(record.fields) == len(header)]
    if len(rows) < _CONSISTENT * (len(found) - 1):
        return None
    return Head(name, spec, pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row"))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.date):
        day = datetime.datetime.combine(value, datetime.time())
        moment = value if isinstance(value, datetime.datetime) else day
        return str(int(moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc).timestamp()))
    return json.dumps(value) if isinstance(value, list) else str(value)


def _joined(text: str, spec: TableSpec) -> str:
    return text.replace(spec.separator, dialect_of(spec).separator)


def _head(fs: fsspec.AbstractFileSystem, path: str, name: str) -> bytes:
    packed = packed_as(name)
    with fsspec.core.OpenFile(fs, path, "rb", compression=packed[0] if packed else None) as file:
        head: bytes = file.read(_HEAD_BYTES)
    if b"\r" in head and b"\n" not in head:
        head = head.replace(b"\r", b"\n")
    # Without a line that is cut off; a multi-byte encoding has its own line ends.
    return head if len(head) < _HEAD_BYTES else head[: head.rfind(b"\n") + 1]


def _decoded(head: bytes) -> tuple[str, str]:
    """Return a text and its encoding."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", "replace"), "utf-16"
    try:
        return head.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return head.decode("latin-1"), "latin-1"

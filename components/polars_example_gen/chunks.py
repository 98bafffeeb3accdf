"""Chunks: parts of a table that can be read by themselves, wherever a line or a quoted field ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import IO

import pyarrow.parquet as pq

from components.polars_example_gen.csv_records import Dialect, records
from components.polars_example_gen.header import Header
from components.polars_example_gen.source import Source, dialect_of, read_line

_COPY_BYTES = 1 << 20
_TOO_LONG = b",(goes on)\n"


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A part of a table: a byte range of a CSV file, or one row group of a Parquet file."""

    source: Source
    start: int
    """First byte, or the row group's position."""
    end: int
    """Byte behind the last, or the row group's position + 1. The line that holds this byte belongs to the chunk."""


def cut(source: Source, header: Header, chunk_bytes: int, max_line_bytes: int) -> Iterator[Chunk]:
    """Cut a table into chunks, none of which begins within quotes.

    Args:
      source: The table.
      header: Its columns.
      chunk_bytes: Length of a CSV chunk, about.
      max_line_bytes: Bound on a line.
    """
    if source.format == "parquet" or not header.has_text:
        yield from even_chunks(source, header.length, chunk_bytes)
        return
    begin, size, dialect = header.length, source.size(), dialect_of(header.spec.ratings)
    with source.open() as file:
        while begin < size:
            # The last chunk takes the rest, as in `even_chunks`.
            far = begin + 2 * chunk_bytes <= size
            end = _record_end(file, begin, begin + chunk_bytes, max_line_bytes, dialect) if far else size
            yield Chunk(source, begin, end)
            begin = end


def _record_end(file: IO[bytes], begin: int, wanted: int, max_line_bytes: int, dialect: Dialect) -> int:
    """Return where the record ends that holds the byte before an offset, reading on from where a record begins."""
    file.seek(begin)
    data = file.read(wanted - begin)
    if not data.endswith(b"\n"):
        data += read_line(file, max_line_bytes)
    if not any(mark.encode() in data for mark in dialect.marks):
        return begin + len(data)
    file.seek(begin)
    lengths: list[int] = []

    def lines() -> Iterator[str]:
        while line := read_line(file, max_line_bytes):
            lengths.append(len(line))
            yield line.decode("latin-1")  # A character a byte; quotes and commas are the same in UTF-8.

    end, seen = begin, 0
    for record in records(lines(), dialect):
        end += sum(lengths[seen : record.line + record.lines])
        seen = record.line + record.lines
        if end >= wanted:
            break
    return end


def even_chunks(source: Source, header_bytes: int, chunk_bytes: int) -> Iterator[Chunk]:
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


def rows_of(source: Source) -> int:
    """Return the number of rows of a Parquet file."""
    with source.open() as file:
        return int(pq.ParquetFile(file).metadata.num_rows)


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
        file.seek(max(chunk.start - 1, 0))
        if chunk.start and file.read(1) != b"\n":
            _skip_line(file)
        begin = file.tell()
        if begin >= chunk.end:
            return b"", begin
        data = file.read(chunk.end - begin)
        if data.endswith(b"\n"):
            return data, begin
        rest = read_line(file, max_line_bytes)
        return data + (rest if len(rest) < max_line_bytes or rest.endswith(b"\n") else rest + _TOO_LONG), begin


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

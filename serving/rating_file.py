"""The ratings of an index as they lie on a local disk, read where they are asked for."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import weakref
import zlib

import numpy as np

_BLOCK_ROWS = 1024
_READ_ROWS = 256 * _BLOCK_ROWS
_LONGEST_HEADER = 1 << 16


class DamagedError(RuntimeError):
    """A file of the version in use has changed since it was verified."""


class RatingFile:
    """Rows of a NumPy file, as an array that stays on the disk.

    Not a mapped one: that ends the process where somebody cuts the file off, and answers otherwise where it is
    overwritten. Here the file stays open, whatever becomes of its name, and what is read from it must be what was
    verified at first: each block of rows has a checksum.
    """

    def __init__(self, path: str, checksums: np.ndarray | None = None) -> None:
        """Open a file.

        Args:
          path: A NumPy file.
          checksums: What `checksums` was of whoever has verified it; without them it is read once, for its digest.

        Raises:
          ValueError: It is no regular file, or no NumPy file of one dimension.
          OSError: It cannot be opened.
        """
        self.path = path
        # A pipe would be waited for, and a link lead anywhere.
        self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        weakref.finalize(self, os.close, self._file)
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is no regular file")
        head = io.BytesIO(os.pread(self._file, _LONGEST_HEADER, 0))
        np.lib.format.read_magic(head)
        shape, _, self.dtype = np.lib.format.read_array_header_1_0(head)
        self._begin = head.tell()
        if len(shape) != 1 or self.dtype.hasobject or status.st_size != self._begin + shape[0] * self.dtype.itemsize:
            raise ValueError(f"{path} is damaged: {status.st_size:,} bytes for {shape} rows of {self.dtype}")
        self._rows = int(shape[0])
        self.sha256 = ""
        """Of the whole file, if it was read."""
        if checksums is None:
            checksums, self.sha256 = self._verified()
        elif len(checksums) != -(-self._rows // _BLOCK_ROWS):
            raise ValueError(f"{path} has {self._rows:,} rows, which is not the file that was verified")
        self.checksums = checksums
        """`[blocks]` uint32, CRC-32 of each block of rows."""

    def _verified(self) -> tuple[np.ndarray, str]:
        digest = hashlib.sha256(self._pread(0, self._begin))
        block = _BLOCK_ROWS * self.dtype.itemsize
        checksums = []
        for first in range(0, self._rows, _READ_ROWS):
            data = memoryview(self._bytes(first, min(first + _READ_ROWS, self._rows)))
            digest.update(data)
            checksums += [zlib.crc32(data[begin : begin + block]) for begin in range(0, len(data), block)]
        return np.array(checksums, np.uint32), digest.hexdigest()

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Read rows.

        Raises:
          DamagedError: They are not the ones that were there at first, or cannot be read.
        """
        start, stop, _ = rows.indices(self._rows)
        if stop <= start:
            return np.empty(0, self.dtype)
        first, last = start // _BLOCK_ROWS, -(-stop // _BLOCK_ROWS)
        data = self._bytes(first * _BLOCK_ROWS, min(last * _BLOCK_ROWS, self._rows))
        block, view = _BLOCK_ROWS * self.dtype.itemsize, memoryview(data)
        for i, expected in enumerate(self.checksums[first:last].tolist()):
            if zlib.crc32(view[i * block : (i + 1) * block]) != expected:
                raise DamagedError(f"{self.path} has changed since it was verified. Publish the version again")
        offset = first * _BLOCK_ROWS
        return np.frombuffer(data, self.dtype)[start - offset : stop - offset]

    def _bytes(self, start: int, stop: int) -> bytes:
        size = self.dtype.itemsize
        return self._pread(self._begin + start * size, (stop - start) * size)

    def _pread(self, offset: int, size: int) -> bytes:
        parts, wanted = [], size
        try:
            # The kernel gives at most 2 GiB at once.
            while wanted and (part := os.pread(self._file, wanted, offset + size - wanted)):
                parts.append(part)
                wanted -= len(part)
        except OSError as error:
            raise DamagedError(f"{self.path} cannot be read any more: {error}. Publish the version again") from error
        if wanted:
            raise DamagedError(f"{self.path} was cut off since it was opened. Publish the version again")
        return parts[0] if len(parts) == 1 else b"".join(parts)

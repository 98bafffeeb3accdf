"""Archives: the tables of a zip or tar as files, of no more than so many bytes."""

from __future__ import annotations

import contextlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

import fsspec

SMALL_BYTES = 64 << 20
"""What an archive may unpack to, however small it is."""
_COPY_BYTES = 1 << 20
_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

Chooser = Callable[[list[str]], list[str] | None]
"""Names of an archive's files -> those of the tables; None where they are not there."""


def unpack(data: str, to: str, most: float, tables_of: Chooser) -> None:
    """Unpack the tables of an archive, or of the one archive that lies in it.

    Args:
      data: Path or URI of the archive.
      to: Directory to unpack into, path or URI.
      most: How many bytes may be unpacked, where that is more than 64 MiB.
      tables_of: Says which files are the tables.

    Raises:
      ValueError: It is no archive, cannot be unpacked, unpacks to too much, or holds no tables.
    """
    room = max(most, SMALL_BYTES)
    try:
        with _opened(data, room) as archive:
            members, inside = tables_of(archive.names), archive.names
            if members is None:
                inner = [name for name in inside if name.endswith(_ENDINGS) and "__MACOSX" not in name]
                if len(inner) == 1:
                    (packed,) = inner
                    place = f"{to}/inner/{packed.rsplit('/', 1)[-1]}"
                    room -= _copy(archive, packed, place, room, data, most)
                    with _opened(place, room) as nested:
                        members, archive, inside = tables_of(nested.names), nested, [packed, *nested.names]
                        if members is not None:
                            _copy_all(nested, members, to, room, data, most)
                            return
                shown = ", ".join(sorted(inside)[:10]) or "nothing"
                raise ValueError(
                    f"{data} holds no folder with both ratings and movies (inside: {shown}); unpack it yourself, or "
                    "see with matinee data inspect how its tables are written"
                )
            _copy_all(archive, members, to, room, data, most)
    except (
        *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
        *(RuntimeError, NotImplementedError),
    ) as error:
        raise ValueError(f"{data} cannot be unpacked: {error}. Pack it again without a password") from error


def too_much(data: str, most: float) -> ValueError:
    """Return the error of what unpacks to more than so many bytes."""
    return ValueError(
        f"{data} unpacks to more than {most:,.0f} bytes; if that is right, unpack it yourself, or raise "
        "--max-unpacked-ratio"
    )


class _Archive:
    """The files of a zip or tar."""

    def __init__(self, file: IO[bytes], data: str, room: float) -> None:
        self._zip: zipfile.ZipFile | None = None
        if zipfile.is_zipfile(file):
            self._zip = zipfile.ZipFile(file)
            self.names = [name for name in self._zip.namelist() if not name.endswith("/")]
            return
        file.seek(0)
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115  The file is the caller's.
        except tarfile.ReadError:
            raise ValueError(
                f"{data} is neither a directory nor an archive (zip or tar); pass what holds the tables"
            ) from None
        self._members = {}
        for member in self._tar:  # Which unpacks what it passes over.
            if member.offset_data + member.size > room:
                raise too_much(data, room)
            if member.isfile():
                self._members[member.name.removeprefix("./")] = member
        self.names = list(self._members)

    def open(self, name: str) -> IO[bytes]:
        """Open a file of the archive."""
        if self._zip:
            return self._zip.open(name)
        file = self._tar.extractfile(self._members[name])
        assert file is not None, "only regular files are listed"
        return file


@contextlib.contextmanager
def _opened(data: str, room: float) -> Iterator[_Archive]:
    with fsspec.open(data, "rb") as file:
        yield _Archive(file, data, room)


def _copy_all(archive: _Archive, members: list[str], to: str, room: float, data: str, most: float) -> None:
    for member in members:
        room -= _copy(archive, member, f"{to}/{member.rsplit('/', 1)[-1]}", room, data, most)


def _copy(archive: _Archive, name: str, place: str, room: float, data: str, most: float) -> int:
    """Copy a file of an archive; return its bytes."""
    fs, path = fsspec.core.url_to_fs(place)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    copied = 0
    with archive.open(name) as source, fs.open(path, "wb") as file:
        while block := source.read(_COPY_BYTES):
            copied += len(block)
            if copied > room:
                raise too_much(data, max(most, SMALL_BYTES))
            file.write(block)
    return copied

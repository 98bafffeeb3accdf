"""Ratings that stay on the disk, which somebody may change under a running service."""

import hashlib
import os

import numpy as np
import pytest

from schemas.histories import RATINGS_DTYPE
from serving.rating_file import _BLOCK_ROWS, DamagedError, RatingFile

ROWS = 3 * _BLOCK_ROWS + 17


@pytest.fixture
def table(tmp_path):
    """A file of ratings, and what is in it."""
    rows = np.zeros(ROWS, RATINGS_DTYPE)
    rows["movie"], rows["step"], rows["timestamp"] = np.arange(ROWS), 1 + np.arange(ROWS) % 10, 10**9
    np.save(tmp_path / "histories.npy", rows)
    return tmp_path / "histories.npy", rows


def test_it_reads_as_the_array_in_the_file(table):
    path, rows = table
    file = RatingFile(str(path))
    assert len(file) == ROWS
    assert file.dtype == RATINGS_DTYPE
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for begin, end in (
        (0, 5),
        (_BLOCK_ROWS - 1, _BLOCK_ROWS + 1),
        (ROWS - 3, ROWS),
        (7, 7),
        (0, ROWS),
        (ROWS - 1, 10**9),
    ):
        assert file[begin:end].tolist() == rows[begin:end].tolist()
    assert file[:].tolist() == rows.tolist()


def test_it_keeps_the_file_whatever_becomes_of_its_name(table):
    path, rows = table
    file = RatingFile(str(path))
    path.unlink()
    path.write_bytes(b"another")
    assert file[0:ROWS].tolist() == rows.tolist()


def test_a_file_cut_off_in_place_is_an_error_and_no_signal(table):
    path = table[0]
    file = RatingFile(str(path))
    os.truncate(path, 200)
    with pytest.raises(DamagedError, match=r"histories.npy was cut off"):
        file[ROWS - 3 :]


def test_a_file_overwritten_in_place_is_an_error_and_no_other_answer(table):
    path, rows = table
    file = RatingFile(str(path))
    with path.open("r+b") as opened:
        opened.seek(-13, os.SEEK_END)
        opened.write(b"\x01")
    with pytest.raises(DamagedError, match=r"histories.npy has changed"):
        file[ROWS - 1 :]
    assert file[0:5].tolist() == rows[0:5].tolist(), "what is whole is read"


@pytest.mark.parametrize("damage", ["cut off", "longer", "another shape", "objects", "nothing"])
def test_what_is_no_table_is_refused(table, damage):
    path, rows = table
    if damage == "cut off":
        os.truncate(path, path.stat().st_size - 1)
    elif damage == "longer":
        with path.open("ab") as opened:
            opened.write(b"x")
    elif damage == "another shape":
        np.save(path, rows.reshape(1, -1))
    elif damage == "objects":
        np.save(path, np.array([{}], object), allow_pickle=True)
    else:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"damaged|magic"):
        RatingFile(str(path))


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_what_is_no_file_is_neither_followed_nor_waited_for(table, tmp_path, kind):
    other = tmp_path / "other"
    if kind == "link":
        other.symlink_to(table[0])
    elif kind == "pipe":
        os.mkfifo(other)
    else:
        other = "/dev/zero"
    with pytest.raises((ValueError, OSError)):
        RatingFile(str(other))

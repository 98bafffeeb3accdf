import polars as pl
import pytest

from schemas import features as f
from serving.titles import TitleSearch

TITLES = [
    "Matrix, The (1999)",
    "Amélie (2001)",
    "The Matrix Files",
    "Se7en",
    "Alien³",
    "WALL·E (2008)",
    "Matador (1986)",
]


@pytest.fixture(scope="module")
def search():
    return TitleSearch(pl.DataFrame({"title": TITLES, f.MOVIE_NUM_RATINGS: [9.0, 8, 99, 6, 5, 4, 3]}))


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("the matrix", [2, 0]),
        ("MATRIX", [0, 2]),
        ("mat", [0, 6, 2]),
        ("amelie 2001", [1]),
        ("alien3", [4]),
        ("wall e", [5]),
        ("atrix", []),
        (".*", [2, 0, 1, 3, 4, 5, 6]),
        ("", [2, 0, 1, 3, 4, 5, 6]),
    ],
)
def test_titles_are_found_by_the_beginnings_of_their_words(search, query, rows):
    assert search.find(query, 10) == rows


def test_the_best_n(search):
    assert search.find("", 2) == [2, 0]

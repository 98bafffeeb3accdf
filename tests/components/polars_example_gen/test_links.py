"""The table of links: read where it is there, and nothing without it."""

import zipfile

import polars as pl
import pytest

from components.polars_example_gen import source
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.checks import BadInputError
from components.polars_example_gen.links import add_links
from schemas.data_spec import named, parse

MOVIES = "movieId,title,genres\n1,Toy Story (1995),Comedy\n2,Jumanji (1995),Action\n7,Sabrina (1995),Drama\n"
RATINGS = "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n"
LINKS = "movieId,imdbId,tmdbId\n1,0114709,862\n2,113497,\n9,0113228,15602\n7,../x?y=1,<b>\n"
TOY_STORY = [
    {"name": "IMDb", "url": "https://www.imdb.com/title/tt0114709/"},
    {"name": "TMDB", "url": "https://www.themoviedb.org/movie/862"},
]
JUMANJI = [{"name": "IMDb", "url": "https://www.imdb.com/title/tt0113497/"}]


def write(directory, links=LINKS):
    for name, text in (("movies", MOVIES), ("ratings", RATINGS), ("links", links)):
        if text is not None:
            (directory / f"{name}.csv").write_text(text)
    return directory


def read(data, unpacked):
    tables = source.find_sources(str(data), str(unpacked))
    catalogue = read_movies(tables[source.MOVIES])
    return add_links(catalogue.movies, tables.get(source.LINKS), named().links, text_ids=False)


def test_links_of_known_movies_are_addresses(tmp_path):
    found = read(write(tmp_path), tmp_path / "unpacked")
    assert found["links"].to_list() == [TOY_STORY, JUMANJI, []], "of what is no id there is no link"


def test_an_archive_may_have_them_too(tmp_path):
    write(tmp_path)
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
        for name in ("movies", "ratings", "links"):
            archive.write(tmp_path / f"{name}.csv", f"ml/{name}.csv")
    assert read(tmp_path / "ml.zip", tmp_path / "unpacked")["links"].to_list() == [TOY_STORY, JUMANJI, []]


def test_a_parquet_of_numbers_gives_the_same(tmp_path):
    write(tmp_path, None)
    pl.DataFrame({"movieId": [1, 2], "imdbId": [114709, 113497], "tmdbId": [862, None]}).write_parquet(
        tmp_path / "links.parquet"
    )
    assert read(tmp_path, tmp_path / "unpacked")["links"].to_list() == [TOY_STORY, JUMANJI, []]


def test_without_the_table_there_are_none(tmp_path):
    assert "links" not in read(write(tmp_path, None), tmp_path / "unpacked").columns


def test_a_table_without_a_column_is_said(tmp_path):
    with pytest.raises(BadInputError, match=r"links.csv, line 1: the column tmdbId is missing"):
        read(write(tmp_path, "movieId,imdbId\n1,0114709\n"), tmp_path / "unpacked")


def test_an_edited_table_changes_the_fingerprint(tmp_path):
    before = source.fingerprint(str(write(tmp_path)))
    write(tmp_path, LINKS.replace("862", "863"))
    assert source.fingerprint(str(tmp_path)) != before


@pytest.mark.parametrize(
    ("url", "message"), [("javascript:{imdbId}", "neither https:// nor http://"), ("https://a.example/", "no column")]
)
def test_addresses_lead_into_the_web_and_name_a_column(url, message):
    text = f"ratings: {{files: [r]}}\nitems: {{files: [i]}}\nlinks: {{files: [l], urls: {{x: '{url}'}}}}\n"
    with pytest.raises(ValueError, match=message):
        parse(text, "spec.yaml")

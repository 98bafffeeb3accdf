"""New movies in the index of a served version, without training."""

import dataclasses
import gzip
import shutil

import numpy as np
import pytest

from pipeline.add_movies import add_movies
from schemas import features as f
from schemas import manifest as m
from schemas import signatures as s
from schemas.data_spec import named
from serving import Recommender
from serving.store import ServingStore

NEW = 'movieId,title,genres\n900001,"Second Dawn, The (2024)",Drama|War\n900002,No Year At All,Comedy\n'


@pytest.fixture
def root(published, tmp_path):
    shutil.copytree(published, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text(NEW)
    return path


def test_new_movies_can_be_recommended_and_the_others_stay_as_they_were(root, table, session_run):
    before = Recommender.load(str(root))
    added = add_movies(str(root), str(table), keep_versions=2)
    after = Recommender.load(str(root))
    assert (added.movies, added.version) == (2, after.model_version)
    assert after.model_version > before.model_version
    assert after.movies.height == before.movies.height + 2
    assert after.movies[f.MOVIE_ID].is_sorted()
    assert after.movie(900001).title == "The Second Dawn (2024)"
    assert (after.movie(900001).year, after.movie(900002).year) == (2024, None)
    known = after.rows(before.movies[f.MOVIE_ID])
    np.testing.assert_array_equal(after.embeddings[known], before.embeddings)
    for user in before.user_ids[:20].tolist():
        # The same order, the new ones in between.
        old = [r.movie_id for r in before.recommend(user_id=user, n=50)]
        new = [r.movie_id for r in after.recommend(user_id=user, n=50) if r.movie_id < 900001]
        assert new == old[: len(new)]
    # What the movie tower of the version says of an unrated movie with the median year, through the session loader.
    row = after.movies.row(int(after.rows([900002])[0]), named=True)
    assert row[f.MOVIE_YEAR] == before.movies["year"].median()
    assert row[f.MOVIE_AVERAGE_RATING] == pytest.approx(before.manifest.global_mean)
    inputs = {name: np.array([np.atleast_1d(row[name])], np.float32) for name in f.MOVIE_FEATURES}
    inputs[f.MOVIE_ID] = np.array([[900002]])
    tower = root / m.EMBEDDING_INDEX / str(added.version) / m.MOVIE_TOWER
    expected = session_run(tower, s.EMBED_MOVIE, inputs)[s.MOVIE_EMBEDDING][0]
    np.testing.assert_allclose(after.embeddings[after.rows([900002])[0]], expected, atol=1e-5)


def test_more_can_be_added_and_old_versions_go(root, table, tmp_path):
    add_movies(str(root), str(table), keep_versions=2)
    more = tmp_path / "more.csv"
    more.write_text("movieId,title,genres\n900000,Between (2001),Drama\n")
    added = add_movies(str(root), str(more), keep_versions=2)
    assert len(added.removed) == 1
    assert len(ServingStore(str(root)).versions()) == 2
    assert Recommender.load(str(root)).rows([900000, 900001, 900002]).shape == (3,)


def test_similar_movies_hold_the_new_ones(root, table):
    add_movies(str(root), str(table), keep_versions=1)
    recommender = Recommender.load(str(root))
    everything = recommender.similar_movies(900001, recommender.movies.height - 1)
    vectors = recommender._similar.embeddings
    cosines = vectors @ vectors[recommender.rows([900001])[0]]
    order = [int(i) for i in recommender.movies[f.MOVIE_ID].to_numpy()[np.argsort(-cosines, kind="stable")]]
    assert [movie.movie_id for movie in everything] == [movie for movie in order if movie != 900001]
    assert 900002 in order


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("movieId,title\n1,a\n", "the column genres is missing"),
        ("movieId,title,genres\n", "holds a header and no rows"),
        ("movieId,title,genres\n900001,A (2000),Drama\n900001,B (2000),Drama\n", "line 3: .* repeats a movie id"),
        ("movieId,title,genres\n900001,A (2000),Horse\n", "line 2: .* has a category that is not one of"),
        (
            "movieId,title,genres\n1,A (2000),Drama\n900001,A (2000),Drama\n",
            r"1 of 2 movies are in version .* \(movieId 1\)",
        ),
    ],
)
def test_a_bad_table_publishes_nothing(root, tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    before = ServingStore(str(root)).versions()
    with pytest.raises(ValueError, match=message):
        add_movies(str(root), str(path), keep_versions=2)
    assert ServingStore(str(root)).versions() == before


def test_what_is_missing_is_named(root, table, tmp_path):
    with pytest.raises(ValueError, match=r"no movies table at '.*nowhere\.csv'"):
        add_movies(str(root), str(tmp_path / "nowhere.csv"), 2)
    with pytest.raises(ValueError, match="no model is published under"):
        add_movies(str(tmp_path / "empty"), str(table), 2)


def test_a_version_of_another_format_is_refused(root, table):
    store = ServingStore(str(root))
    manifest = root / m.EMBEDDING_INDEX / str(store.latest()) / m.MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace(f'"format": {m.FORMAT}', '"format": 0'))
    before = store.versions()
    with pytest.raises(m.FormatError, match="format 0, this Matinee reads format"):
        add_movies(str(root), str(table), 2)
    assert store.versions() == before


def test_dropping_bad_rows(root, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text(NEW + "-4,Bad,Drama\n")
    added = add_movies(str(root), str(path), 2, on_bad_rows="drop", max_bad_rows=0.5)
    ids = Recommender.load(str(root)).movies[f.MOVIE_ID]
    assert (added.movies, ids.filter(ids > 900_000).to_list(), ids.min()) == (2, [900001, 900002], 1)


def test_a_table_is_read_as_its_specification_says(root, tmp_path):
    """Two dots between fields, another encoding, no header, packed: as a data set's tables are."""
    items = dataclasses.replace(named("ml-1m").items, encoding="utf-16")
    spec = dataclasses.replace(named("ml-1m"), items=items)
    path = tmp_path / "new.dat.gz"
    path.write_bytes(gzip.compress("900001::Été, L' (2024)::Drama|War\n".encode("utf-16")))
    assert add_movies(str(root), str(path), spec=spec).movies == 1
    movie = Recommender.load(str(root)).movie(900001)
    assert (movie.title, movie.genres, movie.year) == ("L'Été (2024)", ("Drama", "War"), 2024)

import json
import os
import pathlib
import pickle

import numpy as np
import polars as pl
import pytest

from schemas import features as f
from schemas import manifest as m
from schemas.data_spec import movielens
from schemas.histories import Histories
from schemas.user_features import FeatureConstants
from schemas.vectors import Vectors
from serving import index
from serving.rating_file import RatingFile
from serving.search import MovieSearch, Search

HISTORIES = {
    "user_ids": np.array([1, 1, 7]),
    "movies": np.array([0, 1, 2]),
    "stars": np.array([4.5, 3.0, 5.0], np.float32),
    "timestamps": np.array([5, 6, 1 << 33]),
}
CONSTANTS = FeatureConstants(3.5, tuple(3 + i / 100 for i in range(movielens().num_categories)), latest_s=900)


FEATURES = [
    pl.Series(name, [[1.0] * n if n > 1 else 1.0] * 50, pl.List(pl.Float32) if n > 1 else pl.Float32)
    for name, n in f.lengths(f.MOVIE_FEATURES, movielens().num_categories).items()
]
MOVIES = pl.DataFrame(
    {
        f.MOVIE_ID: np.arange(50) * 3,
        "title": "A",
        "genres": [["Drama"]] * 50,
        "year": pl.Series([1990] * 50, dtype=pl.Int32),
    }
).with_columns(FEATURES)


def unit(rows, dim, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(directory, embeddings=None, rating_vectors=None, index_factory=index.EXACT):
    model = pathlib.Path(f"{directory}-model")
    model.mkdir(exist_ok=True)
    (model / m.SAVED_MODEL_FILE).write_text("graph")
    contents = index.IndexContents(
        vectors=Vectors(
            unit(50, 8) if embeddings is None else embeddings,
            unit(50, 8, seed=2) if rating_vectors is None else rating_vectors,
        ),
        similarity=unit(50, 5, seed=3),
        movies=MOVIES,
        histories=Histories.of(*HISTORIES.values()),
        constants=CONSTANTS,
        user_tower_file=str(model / m.SAVED_MODEL_FILE),
        tower_digest="tower",
        probe=[1.0] + [0.0] * 7,
        models={m.MOVIE_TOWER: str(model), m.EVALUATED: str(model)},
        index_factory=index_factory,
    )
    return index.write_index(str(directory), 12, contents, str(model), created_s=5)


@pytest.mark.parametrize("factory", ["Flat", "HNSW32"])
def test_an_index_round_trips(tmp_path, factory):
    manifest = write(tmp_path, index_factory=factory)
    loaded = index.read_index(str(tmp_path))
    assert loaded.manifest == manifest
    assert loaded.constants == CONSTANTS
    assert manifest.counts == {"movies": 50, "users": 2, "ratings": 3}
    np.testing.assert_array_equal(loaded.vectors.embeddings, unit(50, 8))
    np.testing.assert_array_equal(loaded.vectors.rating_vectors, unit(50, 8, seed=2))
    expected = np.argsort(-unit(5, 8, seed=9) @ unit(50, 8).T, axis=1)[:, :10]
    if factory == "Flat":
        assert (loaded.faiss_index, (tmp_path / m.INDEX_FILE).exists()) == (None, False)
        search = MovieSearch(loaded.vectors.embeddings, loaded.faiss_index)
        rows = [search.top(user, Search(10, np.array([], int))).rows for user in unit(5, 8, seed=9)]
        np.testing.assert_array_equal(rows, expected)
    else:
        _, rows = loaded.faiss_index.search(unit(5, 8, seed=9), 10)
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, expected, strict=True)]) > 0.9


@pytest.mark.parametrize(
    "name", [m.INDEX_FILE, m.EMBEDDINGS_FILE, m.RATING_VECTORS_FILE, m.MOVIES_FILE, m.HISTORIES_FILE, m.USERS_FILE]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_refused(tmp_path, name, damage):
    write(tmp_path, index_factory="HNSW32")
    path = tmp_path / name
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-7] if damage == "truncate" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(RuntimeError, match=f"{name} is {'missing' if damage == 'remove' else 'damaged'}"):
        index.read_index(str(tmp_path))


@pytest.mark.parametrize("content", [None, "{", json.dumps({"format": m.FORMAT, "version": 1})])
def test_a_broken_manifest_is_refused(tmp_path, content):
    write(tmp_path)
    path = tmp_path / m.MANIFEST_FILE
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(RuntimeError, match=r"manifest\.json is missing or broken"):
        index.read_index(str(tmp_path))


@pytest.mark.parametrize(
    ("embeddings", "factory", "message"),
    [
        (unit(49, 8), "Flat", "49 embeddings for 50 movies"),
        (unit(50, 8) * 2, "Flat", "must be unit vectors"),
        (unit(50, 8), "Nonsense", "FAISS does not know the index_factory string 'Nonsense'"),
    ],
)
def test_impossible_indexes(tmp_path, embeddings, factory, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, embeddings, index_factory=factory)


def test_the_model_digest_is_of_weights_and_vectors(tmp_path):
    first = write(tmp_path / "a").model_digest
    assert write(tmp_path / "b").model_digest == first
    assert write(tmp_path / "c", unit(50, 8, seed=1)).model_digest != first
    assert write(tmp_path / "d", rating_vectors=unit(50, 8, seed=1)).model_digest != first


def assert_histories(found):
    """What a version's users rated, from whatever file."""
    assert found.users.tolist() == [(1, 2), (7, 3)]
    for column, name in zip(found[0:3], ("movies", "stars", "timestamps"), strict=True):
        np.testing.assert_array_equal(column, HISTORIES[name])


def test_histories_stay_on_disk(tmp_path):
    write(tmp_path)
    histories = index.read_index(str(tmp_path)).histories
    assert isinstance(histories.ratings, RatingFile)
    assert_histories(histories)


def test_histories_in_another_catalogue(tmp_path):
    moved = Histories.of(*HISTORIES.values()).moved(np.array([3, 1, 0]))
    assert moved[0:3][0].tolist() == [3, 1, 0]
    assert moved[0:2][1].tolist() == [4.5, 3.0]


@pytest.mark.parametrize("found", [None, m.FORMAT + 1])
def test_another_format_asks_for_a_publication(tmp_path, found):
    manifest = json.loads(write(tmp_path).to_json()) | {"format": found}
    (tmp_path / m.MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(
        m.FormatError, match=f"manifest.json: format {found}, this Matinee reads format {m.FORMAT}. Publ"
    ):
        index.read_index(str(tmp_path))


@pytest.mark.parametrize("name", [m.RATING_VECTORS_FILE, f"{m.MOVIE_TOWER}/{m.SAVED_MODEL_FILE}", m.USERS_FILE])
def test_a_manifest_that_lists_too_little_is_refused(tmp_path, name):
    manifest = json.loads(write(tmp_path).to_json())
    del manifest["files"][name]
    (tmp_path / m.MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(RuntimeError, match=f"lists no {name}. Publish the version again"):
        index.read_index(str(tmp_path))


def rewritten(directory, name, change):
    """Change a file of an index and its digest in the manifest."""
    path = directory / name
    change(path)
    manifest = json.loads((directory / m.MANIFEST_FILE).read_text())
    manifest["files"][name] = m.sha256(str(path))
    (directory / m.MANIFEST_FILE).write_text(json.dumps(manifest))


def array(change):
    return lambda path: np.save(path, change(np.load(path)))


def first(values, row):
    values = values.copy()
    values[0] = row
    return values


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (m.EMBEDDINGS_FILE, array(lambda x: x[:, :4]), r"the embeddings are \(50, 4\) float32, expected \(50, 8\)"),
        (m.EMBEDDINGS_FILE, array(lambda x: x[:25]), "the embeddings are"),
        (m.EMBEDDINGS_FILE, array(lambda x: x.astype(np.float64)), "float64, expected"),
        (m.EMBEDDINGS_FILE, array(lambda x: first(x, np.nan)), "the embeddings are no unit vectors"),
        (m.RATING_VECTORS_FILE, array(lambda x: x * 1000), "the rating vectors are no unit vectors"),
        (
            m.RATING_VECTORS_FILE,
            array(lambda x: x[:, :4]),
            r"the rating vectors are \(50, 4\) float32, expected \(50, 8\)",
        ),
        (m.SIMILARITY_FILE, array(lambda x: x * 0), "the similarity vectors are no unit vectors"),
        (m.HISTORIES_FILE, array(lambda x: first(x, (50, 8, 1))), "movies outside of the catalogue of 50"),
        (m.HISTORIES_FILE, array(lambda x: first(x, (-1, 8, 1))), "movies outside of the catalogue"),
        (m.HISTORIES_FILE, array(lambda x: first(x, (1, 11, 1))), "ratings outside of 0.5 to 5"),
        (m.HISTORIES_FILE, array(lambda x: x["movie"]), "the histories are"),
        (m.USERS_FILE, array(lambda x: x[::-1]), "the histories' users are not in order"),
        (m.USERS_FILE, array(lambda x: first(x, (1, 9))), "the histories' users are not in order"),
        (m.MOVIES_FILE, lambda path: MOVIES[::-1].write_parquet(path), "ids are not ascending"),
        (m.MOVIES_FILE, lambda path: MOVIES.drop("title").write_parquet(path), "no column title"),
        (m.MOVIES_FILE, lambda path: MOVIES[:0].write_parquet(path), "the manifest counts 50 movies, there are 0"),
        (m.MOVIES_FILE, lambda path: path.write_bytes(b"no Parquet"), "makes no sense"),
        (m.EMBEDDINGS_FILE, lambda path: path.write_bytes(pickle.dumps([1])), "makes no sense"),
    ],
)
def test_digests_are_not_taken_for_sense(tmp_path, name, change, message):
    write(tmp_path)
    rewritten(tmp_path, name, change)
    with pytest.raises(RuntimeError, match=message) as error:
        index.read_index(str(tmp_path))
    assert "Publish the version again" in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"counts": {"movies": 50, "users": 2}}, "the manifest has no count of ratings"),
        ({"dim": 9}, r"expected \(50, 9\)"),
        ({"probe": [1.0]}, "the probe has 1 numbers, expected 8"),
        ({"genre_means": [3.0]}, "1 means of categories, expected 20"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path, values, message):
    manifest = json.loads(write(tmp_path).to_json()) | values
    (tmp_path / m.MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(RuntimeError, match=message):
        index.read_index(str(tmp_path))


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a/../../b", "file:///etc/passwd", ""])
def test_a_manifest_names_nothing_outside_of_its_version(tmp_path, name):
    manifest = json.loads(write(tmp_path / "index").to_json())
    manifest["files"][name] = "0" * 64
    (tmp_path / "index" / m.MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(RuntimeError, match="is not below the version's directory"):
        index.read_index(str(tmp_path / "index"))


@pytest.mark.parametrize("kind", ["link", "linked folder", "pipe", "device"])
def test_what_is_no_regular_file_is_not_opened(tmp_path, kind):
    """A pipe would be waited for, and a device read, for ever."""
    directory = tmp_path / "index"
    write(directory)
    name = f"{m.EVALUATED}/{m.SAVED_MODEL_FILE}" if kind == "linked folder" else m.EMBEDDINGS_FILE
    path = directory / name
    if kind == "linked folder":
        path.parent.rename(tmp_path / "elsewhere")
        path.parent.symlink_to(tmp_path / "elsewhere")
    else:
        path.rename(tmp_path / "elsewhere")
        {"link": lambda: path.symlink_to(tmp_path / "elsewhere"), "pipe": lambda: os.mkfifo(path)}.get(
            kind, lambda: path.symlink_to("/dev/zero")
        )()
    with pytest.raises(RuntimeError, match="is no regular file"):
        index.read_index(str(directory))

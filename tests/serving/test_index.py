import json
import pathlib

import numpy as np
import polars as pl
import pytest

from schemas import features as f
from schemas import manifest as m
from schemas.histories import Histories
from schemas.user_features import FeatureConstants
from schemas.vectors import Vectors
from serving import index
from serving.search import MovieSearch

HISTORIES = {
    "user_ids": np.array([1, 1, 7]),
    "movies": np.array([0, 1, 2]),
    "stars": np.array([4.5, 3.0, 5.0], np.float32),
    "timestamps": np.array([5, 6, 1 << 33]),
}
CONSTANTS = FeatureConstants(3.5, tuple(3 + i / 100 for i in range(f.NUM_GENRES)), latest_s=900)


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
        movies=pl.DataFrame({f.MOVIE_ID: np.arange(50) * 3}),
        histories=Histories.of(*HISTORIES.values()),
        constants=CONSTANTS,
        tower_digest="tower",
        probe=[1.0] + [0.0] * 7,
        models={m.MOVIE_TOWER: str(model), m.EVALUATED: str(model)},
        index_factory=index_factory,
    )
    return index.write_index(str(directory), 12, contents, created_s=5)


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
        rows = [search.top(user, 10, np.array([], int)).rows for user in unit(5, 8, seed=9)]
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
    assert isinstance(histories.ratings, np.memmap)
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

import json

import numpy as np
import polars as pl
import pytest

from components.polars_example_gen.features import FeatureConstants
from components.pusher import index
from schemas import features as f
from schemas import manifest as m
from schemas.histories import Histories
from schemas.vectors import Vectors

HISTORIES = {
    "user_ids": np.array([1, 1, 7]),
    "movies": np.array([0, 1, 2]),
    "stars": np.array([4.5, 3.0, 5.0], np.float32),
    "timestamps": np.array([5, 6, 1 << 33]),
}
CONSTANTS = FeatureConstants(3.5, tuple(3 + i / 100 for i in range(20)), latest_s=900)


def unit(rows, dim, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(directory, embeddings=None, rating_vectors=None, **kwargs):
    embeddings = unit(50, 8) if embeddings is None else embeddings
    vectors = Vectors(embeddings, unit(50, 8, seed=2) if rating_vectors is None else rating_vectors)
    movies = pl.DataFrame({f.MOVIE_ID: np.arange(50) * 3})
    histories = Histories.of(*HISTORIES.values())
    return index.write_index(str(directory), 12, vectors, movies, histories, CONSTANTS, "tower", created_s=5, **kwargs)


@pytest.mark.parametrize("factory", ["Flat", "HNSW32"])
def test_an_index_round_trips(tmp_path, factory):
    manifest = write(tmp_path, index_factory=factory)
    loaded = index.read_index(str(tmp_path))
    assert loaded.manifest == manifest
    assert loaded.constants == CONSTANTS
    assert manifest.counts == {"movies": 50, "users": 2, "ratings": 3}
    np.testing.assert_array_equal(loaded.vectors.embeddings, unit(50, 8))
    np.testing.assert_array_equal(loaded.vectors.rating_vectors, unit(50, 8, seed=2))
    _, rows = loaded.faiss_index.search(unit(5, 8, seed=9), 10)
    expected = np.argsort(-unit(5, 8, seed=9) @ unit(50, 8).T, axis=1)[:, :10]
    if factory == "Flat":
        np.testing.assert_array_equal(rows, expected)
    else:
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, expected, strict=True)]) > 0.9


@pytest.mark.parametrize(
    "name", [m.INDEX_FILE, m.EMBEDDINGS_FILE, m.RATING_VECTORS_FILE, m.MOVIES_FILE, m.HISTORIES_FILE, m.USERS_FILE]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_refused(tmp_path, name, damage):
    write(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-7] if damage == "truncate" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(RuntimeError, match=f"{name} is {'missing' if damage == 'remove' else 'damaged'}"):
        index.read_index(str(tmp_path))


@pytest.mark.parametrize("content", [None, "{", json.dumps({"version": 1})])
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


def test_an_index_of_before_histories_were_mapped(tmp_path):
    manifest = json.loads(write(tmp_path).to_json())
    for name in (m.USERS_FILE, m.HISTORIES_FILE):
        (tmp_path / name).unlink()
        del manifest["files"][name]
    columns = dict(zip((f.USER_ID, f.MOVIE_ID, f.RATING, f.TIMESTAMP), HISTORIES.values(), strict=True))
    columns[f.MOVIE_ID] = columns[f.MOVIE_ID] * 3
    pl.DataFrame(columns).write_parquet(tmp_path / m.FORMER_HISTORIES_FILE)
    manifest["files"][m.FORMER_HISTORIES_FILE] = m.sha256(str(tmp_path / m.FORMER_HISTORIES_FILE))
    (tmp_path / m.MANIFEST_FILE).write_text(json.dumps(manifest))
    assert_histories(index.read_index(str(tmp_path)).histories)


def test_an_index_of_before_there_were_rating_vectors(tmp_path):
    """Its embeddings are both, and its user tower takes no history."""
    manifest = json.loads(write(tmp_path).to_json())
    (tmp_path / m.RATING_VECTORS_FILE).unlink()
    del manifest["files"][m.RATING_VECTORS_FILE], manifest["user_inputs"]
    (tmp_path / m.MANIFEST_FILE).write_text(json.dumps(manifest))
    loaded = index.read_index(str(tmp_path))
    np.testing.assert_array_equal(loaded.vectors.rating_vectors, loaded.vectors.embeddings)
    assert loaded.manifest.user_inputs == list(f.USER_FEATURES)

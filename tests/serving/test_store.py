import pathlib

import fsspec
import pytest

from schemas.manifest import EMBEDDING_INDEX
from schemas.signatures import USER_TOWER
from serving.store import ServingStore


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    """A store on a file system and one on fsspec's memory file system, which stands for object stores."""
    if request.param == "local":
        return ServingStore(str(tmp_path / "serving"))
    fsspec.filesystem("memory").rm("/", recursive=True)
    return ServingStore("memory://serving")


@pytest.fixture
def staged(tmp_path):
    """Local directories of an index and a user tower."""
    index, tower = tmp_path / "index", tmp_path / "tower"
    (tower / "variables").mkdir(parents=True)
    index.mkdir()
    (index / "manifest.json").write_text("{}")
    (index / "index.faiss").write_text("index")
    (tower / "saved_model.pb").write_text("graph")
    (tower / "variables" / "variables.index").write_text("weights")
    return str(index), str(tower)


def test_a_published_version_is_complete(store, staged):
    assert store.latest() is None
    store.publish(7, *staged)
    assert store.versions() == [7]
    with fsspec.open(f"{store.directory(USER_TOWER, 7)}/variables/variables.index") as file:
        assert file.read() == b"weights"


@pytest.mark.parametrize("after", range(1, 5))
def test_a_crash_after_any_file_keeps_the_served_version(store, staged, monkeypatch, after):
    """The publication dies after its first, second, third and fourth file; the next one succeeds."""
    store.publish(7, *staged)
    put, files = store._fs.put_file, []

    def dying(source, target, **kwargs):
        if len(files) == after:
            raise OSError("no space left on device")
        files.append(target)
        return put(source, target, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(type(store._fs), "put_file", lambda self, *args, **kwargs: dying(*args, **kwargs))
        if after < 4:
            with pytest.raises(OSError, match="no space left"):
                store.publish(8, *staged)
            assert store.versions() == [7]
        else:
            store.publish(8, *staged)
            assert store.versions() == [7, 8]
            assert files[-1].endswith("saved_model.pb"), "what marks the tower as complete goes last"
            assert files[1].endswith("manifest.json")
    version = store.next_version(0)
    store.publish(version, *staged)
    assert store.latest() == version
    store.prune(1)
    assert store.versions() == [version]


def test_staged_names_are_ignored_and_cleared(store, staged):
    if not store._local:
        pytest.skip("an object store has no rename and so no staging")
    left = pathlib.Path(store._path, USER_TOWER, ".staging-9-abc")
    left.mkdir(parents=True)
    assert store.versions() == []
    store.publish(3, *staged)
    assert not left.exists()


def test_an_index_without_a_tower_is_not_served(store, staged):
    store.publish(3, *staged)
    store._put(staged[0], EMBEDDING_INDEX, 4)
    assert store.latest() == 3
    assert store.next_version(0) == 5, "the half version's number is not used again"
    store.publish(5, *staged)
    assert store.prune(2) == [4]


def test_old_versions_are_removed(store, staged):
    for version in (1, 2, 3, 4):
        store.publish(version, *staged)
    assert store.prune(2) == [1, 2]
    assert store.versions() == [3, 4]
    assert not store._fs.exists(store.directory(EMBEDDING_INDEX, 1).removeprefix("memory:/"))
    with pytest.raises(ValueError, match="keep is 0"):
        store.prune(0)


def test_versions_are_seconds_and_always_rise(store, staged):
    assert store.next_version(1700000000.9) == 1700000000
    store.publish(1700000000, *staged)
    assert store.next_version(1600000000) == 1700000001

import os
import pathlib
import stat
import threading

import fsspec
import pytest

from schemas.manifest import EMBEDDING_INDEX
from schemas.signatures import USER_TOWER
from serving import store as stores
from serving.store import ServingStore
from tests import forked


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
    store.prune(2)
    assert not store._fs.exists(f"{store._kind(EMBEDDING_INDEX)}/4")
    assert store.versions() == [3, 5]


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


def everything(store):
    return sorted(path for kind in (EMBEDDING_INDEX, USER_TOWER) for path in store._fs.find(store._kind(kind)))


def test_a_publication_that_fails_gives_all_its_room_back(store, staged, monkeypatch):
    """The index fits, the tower does not."""
    store.publish(7, *staged)
    before, put = everything(store), type(store._fs).put_file

    def full(fs, source, target, **kwargs):
        if "variables" in target:
            raise OSError(28, "No space left on device")
        return put(fs, source, target, **kwargs)

    monkeypatch.setattr(type(store._fs), "put_file", full)
    with pytest.raises(OSError, match="No space left"):
        store.publish(8, *staged)
    assert everything(store) == before


def test_what_was_written_is_verified_before_it_appears(store, staged):
    store.publish(7, *staged)
    before = everything(store)
    seen = []

    def verify(index_dir, tower_dir):
        with fsspec.open(f"{index_dir}/manifest.json") as file:
            seen.append((file.read(), pathlib.Path(tower_dir, "saved_model.pb").read_text(), store.versions()))
        raise RuntimeError("the tower does not work")

    with pytest.raises(RuntimeError, match="does not work"):
        store.publish(8, *staged, verify)
    assert seen == [(b"{}", "graph", [7])]
    assert everything(store) == before


def test_what_an_object_store_holds_is_what_was_sent(store, staged, monkeypatch):
    if store._local:
        pytest.skip("a file system is written through and loaded")
    monkeypatch.setattr(type(store._fs), "size", lambda fs, path: 3)
    with pytest.raises(OSError, match="has 3 bytes, "):
        store.publish(8, *staged)
    assert store.versions() == []


def test_everything_is_on_the_disk_before_a_name_relies_on_it(tmp_path, staged, monkeypatch):
    """A power cut keeps what was synchronised, and may keep any rename."""
    store, calls = ServingStore(str(tmp_path / "serving")), []
    fsync, rename = os.fsync, os.rename

    def record(call, *names):
        calls.append((call, *(os.path.relpath(name, tmp_path / "serving") for name in names)))

    monkeypatch.setattr(os, "fsync", lambda fd: (record("fsync", os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))[1])
    monkeypatch.setattr(os, "rename", lambda a, b: (record("rename", a, b), rename(a, b))[1])
    store.publish(7, *staged)
    renames = [i for i, call in enumerate(calls) if call[0] == "rename"]
    assert [calls[i][2] for i in renames] == ["embedding_index/7", "user_tower/7"]
    synchronised = {call[1] for call in calls[: renames[0]]}
    staged_names = [calls[i][1] for i in renames]
    for name in staged_names:
        (kind, _) = name.split("/")
        published = tmp_path / "serving" / kind / "7"
        files = [path.relative_to(published).as_posix() for path in published.rglob("*")]
        assert {name, *(f"{name}/{file}" for file in files)} <= synchronised
    assert calls[renames[0] + 1] == ("fsync", "embedding_index")
    assert calls[renames[1] + 1] == ("fsync", "user_tower")


def test_published_files_are_read_only(tmp_path, staged):
    store = ServingStore(str(tmp_path / "serving"))
    store.publish(7, *staged)
    files = [pathlib.Path(path) for path in everything(store)]
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}
    store.publish(8, *staged)
    assert store.prune(1) == [7], "and can be removed"


def test_the_index_of_a_killed_publication_gives_its_room_back_to_the_next(tmp_path, staged):
    store = ServingStore(str(tmp_path / "serving"))
    store._put(staged[0], EMBEDDING_INDEX, "4")
    with pytest.raises(RuntimeError, match="stopped"):
        store.publish(5, *staged, lambda *_: (_ for _ in ()).throw(RuntimeError("stopped")))
    assert everything(store) == []


def test_a_second_publication_waits_for_the_first(tmp_path, monkeypatch):
    root = str(tmp_path / "serving")
    monkeypatch.setattr(stores, "_LOCK_TIMEOUT_S", 0.2)
    begun, finish, order = threading.Event(), threading.Event(), []

    def first():
        with ServingStore(root).exclusive():
            begun.set()
            finish.wait()
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait()
    with pytest.raises(RuntimeError, match=r"another publication holds .*serving for 0.2 s"):
        ServingStore(root).exclusive().__enter__()
    monkeypatch.setattr(stores, "_LOCK_TIMEOUT_S", 20)
    threading.Timer(0.2, finish.set).start()
    with ServingStore(root).exclusive():
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


PUBLISHES = """
import sys, time
from serving.store import ServingStore
from tests.serving.harness import publish_next

root, seed = sys.argv[1], int(sys.argv[2])
for i in range(8):
    store = ServingStore(root)
    with store.exclusive():
        version = publish_next(root, seed=100 * seed + i)
        store.prune(2)
    print("PUBLISHED", version)
"""
READS = """
import pathlib, sys
from serving.recommender import Recommender
from serving.store import ServingStore

root, stop = sys.argv[1], pathlib.Path(sys.argv[2])
latest, loads = 0, 0
while not stop.exists() or loads < 3:
    recommender = Recommender.load(root)
    assert len(recommender.recommend(user_id=1)) == 10
    assert recommender.model_version >= latest
    latest, loads = recommender.model_version, loads + 1
print("LOADED", loads)
"""


@pytest.mark.slow
def test_many_processes_publish_prune_and_read_one_root(root, tmp_path):
    """Three publishers and two readers: no version twice, none lost, and whoever reads always gets a whole one."""
    stop = tmp_path / "stop"
    readers = [forked.start(READS, root, stop) for _ in range(2)]
    publishers = [forked.start(PUBLISHES, root, seed) for seed in range(3)]
    outputs = []
    for process in publishers:
        out, _ = process.communicate(timeout=240)
        assert process.returncode == 0, out[-3000:]
        outputs.append(out)
    stop.touch()
    loads = 0
    for process in readers:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out[-3000:]
        loads += int(out.split("LOADED")[1])
    published = [int(line.split()[1]) for out in outputs for line in out.splitlines() if line.startswith("PUBLISHED")]
    assert len(published) == len(set(published)) == 24
    assert ServingStore(str(root)).versions() == sorted(published)[-2:]
    assert loads >= 6
    assert not [path for path in everything(ServingStore(str(root))) if ".staging" in path]

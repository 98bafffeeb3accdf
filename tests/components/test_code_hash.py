import importlib
import sys

from components import code_hash


def test_the_hash_is_of_the_sources(tmp_path, monkeypatch):
    package = tmp_path / "hashed_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "work.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_hash.of("hashed_package")
    assert code_hash.of("hashed_package") == before
    assert code_hash.of("hashed_package.work") != before
    (package / "notes.txt").write_text("not code")
    assert code_hash.of("hashed_package") == before
    (package / "work.py").write_text("x = 2\n")
    importlib.invalidate_caches()
    assert code_hash.of("hashed_package") != before
    sys.modules.pop("hashed_package", None)

"""What the cache is keyed by: the code that runs, no less and no more."""

import pathlib

from components import code_hash

FILES = {
    "house/__init__.py": "",
    "house/work.py": "import os\nfrom house import tools\nfrom house.rooms.kitchen import cook\n",
    "house/tools.py": "PAGE = 'page.html'\n",
    "house/page.html": "<p>",
    "house/unused.py": "",
    "house/rooms/__init__.py": "",
    "house/rooms/kitchen.py": "from . import stove\ndef cook():\n    from house.rooms import cellar\n",
    "house/rooms/stove.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house import typed\nfrom ..shed import saw\n"
    ),
    "house/rooms/cellar.py": "",
    "house/shed.py": "saw = 1\n",
    "house/typed.py": "",
}


def build(root: pathlib.Path) -> None:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_the_closure_is_of_every_import_and_named_file(tmp_path):
    build(tmp_path)
    found = code_hash.closure("house.work", root=tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for paths in found.values() for path in paths}
    assert files == FILES.keys() - {"house/unused.py", "house/typed.py"}
    assert "os" not in found


def test_the_hash_changes_with_what_runs_alone(tmp_path):
    build(tmp_path)
    before = code_hash.of("house.work", root=tmp_path)
    assert code_hash.of("house.work", root=tmp_path) == before
    for name in FILES:
        (tmp_path / name).write_text(FILES[name] + "\n")
        changed = code_hash.of("house.work", root=tmp_path) != before
        assert changed == (name not in ("house/unused.py", "house/typed.py")), name
        (tmp_path / name).write_text(FILES[name])
    assert code_hash.of("house.rooms.kitchen", root=tmp_path) != before

"""The house keeps its order: imports point one way, and the cache is keyed by all that a component runs."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from components import code_hash
from pipeline import config
from tests import forked
from tests.forked import ROOT

PACKAGES = ("pipeline", "components", "schemas", "serving")


def lint(root):
    command = pathlib.Path(sys.executable).with_name("lint-imports")
    return subprocess.run([command, "--no-cache"], cwd=root, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("serving/index.py", "import components.dataset", "Dependencies point one way BROKEN"),
        ("schemas/keys.py", "import serving.store", "Dependencies point one way BROKEN"),
        ("components/dataset.py", "from pipeline import artifacts", "Dependencies point one way BROKEN"),
        (
            "components/pusher/publish.py",
            "import components.trainer.config",
            "know what they share, and not each other",
        ),
        ("components/trainer/training.py", "import tfx.types", "imports neither TFX nor Beam BROKEN"),
        ("serving/ranker.py", "import apache_beam", "imports neither TFX nor Beam BROKEN"),
    ],
)
def test_an_import_against_the_direction_is_found(tmp_path, module, line, contract):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / module
    path.write_text(path.read_text() + f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout
    assert contract in done.stdout


IMPORTED = f"""
import importlib, json, sys

def own():
    return [name for name in sys.modules if name.partition(".")[0] in {PACKAGES}]

for name in own():
    del sys.modules[name]
for name in sys.argv[1:]:
    importlib.import_module(name)
print("IMPORTED", json.dumps(own()))
"""


def hashed_roots(monkeypatch):
    """Return the modules by whose closures a pipeline's components are keyed."""
    from pipeline import pipeline

    asked = []
    monkeypatch.setattr(code_hash, "of", lambda *modules: asked.append(modules) or "hash")
    settings = config.load(None, {"trials": 1})
    pipeline.create_pipeline(settings, pipeline.Parameters("data", "serving"), "root")
    return asked


@pytest.mark.slow
def test_the_cache_is_keyed_by_all_that_is_imported_at_run_time(monkeypatch):
    roots = hashed_roots(monkeypatch)
    assert {module.rpartition(".")[0] for modules in roots for module in modules} == {
        f"components.{name}"
        for name in (
            "evaluation_gate",
            "example_validator",
            "polars_example_gen",
            "pusher",
            "schema_gen",
            "trainer",
            "transform",
            "tuner",
        )
    }
    for modules in roots:
        done = forked.run(IMPORTED, *modules, timeout=60)
        assert done.returncode == 0, done.stdout
        imported = set(json.loads(done.stdout.partition("IMPORTED ")[2]))
        closure = set(code_hash.closure(*modules))
        assert imported <= closure, modules
        # Beyond what is imported at once there may be what functions import.
        assert not {name for name in closure - imported if name.startswith("pipeline")}, modules


def test_a_manifest_does_not_ingest_again():
    closure = code_hash.closure("components.polars_example_gen.executor", "components.polars_example_gen.driver")
    assert "schemas.features" in closure
    assert not {"schemas.manifest", "schemas.signatures", "components.trainer", "serving"} & set(closure)
    assert "serving" not in {name.partition(".")[0] for name in code_hash.closure("components.trainer.executor")}

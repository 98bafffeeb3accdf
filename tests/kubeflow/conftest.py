"""A compiled pipeline."""

import dataclasses
import importlib.util

import pytest

from pipeline import config
from pipeline.kubeflow import compiler

if importlib.util.find_spec("kfp") is None:  # It does not install beside TFX 1.21.
    collect_ignore_glob = ["test_*.py"]

IMAGE = "registry.example/matinee@sha256:" + "0123456789abcdef" * 4
OVERRIDES = {
    "image": IMAGE,
    "hidden_units": [32],
    "batch_size": 256,
    "ema_momentum": 0,
    "min_recall_vs_popularity": 0,
    "epochs": 2,
    "refit_epochs": 1,
    "negatives": 64,
}


@dataclasses.dataclass
class Compiled:
    """A compiled file and what it was made of."""

    path: object
    documents: list
    settings: config.RunConfig

    def trainer(self, **changes):
        """The compiled Trainer's configuration with some values changed."""
        return dataclasses.replace(self.settings.trainer, **changes)


@pytest.fixture
def compile_file(tmp_path):
    """Compile a pipeline into a file."""

    def compile_it(data: str = "", serving_dir: str = "", **overrides) -> Compiled:
        settings = config.load(None, OVERRIDES | overrides)
        documents = compiler.compile_pipeline(settings, data, serving_dir)
        compiler.write(documents, str(tmp_path / "matinee.yaml"))
        return Compiled(tmp_path / "matinee.yaml", documents, settings)

    return compile_it

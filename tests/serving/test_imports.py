"""Serving must install and import without the training stack."""

import subprocess
import sys

BLOCKED = """
import sys

BLOCKED = ("tfx", "tfx_bsl", "apache_beam", "tensorflow_transform", "ml_metadata", "pyarrow")

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Block())
"""


def run(code):
    subprocess.run([sys.executable, "-c", BLOCKED + code], check=True, timeout=120)


def test_serving_imports_without_tfx_and_beam_and_is_quick_to_import():
    run("import serving; serving.Recommender.load; assert 'tensorflow' not in sys.modules")


def test_the_service_beside_tensorflow_serving_needs_no_tensorflow():
    run("import serving.server, serving.tf_serving.rest; assert 'tensorflow' not in sys.modules")


def test_the_command_line_starts_without_them():
    run("from pipeline import cli; assert 'tensorflow' not in sys.modules")


def test_components_do_not_import_the_pipeline():
    run("import serving.index, components.ranking_metrics; assert 'pipeline' not in sys.modules")

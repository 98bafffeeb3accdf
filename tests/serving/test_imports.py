"""Serving must install and work without TensorFlow and the training stack."""

import subprocess
import sys

import pytest

BLOCKED = """
import sys

import pytest

BLOCKED = ("tensorflow", "keras", "tfx", "tfx_bsl", "apache_beam", "tensorflow_transform", "ml_metadata", "pyarrow")

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Block())
"""


def run(code, *arguments, status=0):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stderr
    return done


def test_the_service_needs_none_of_them():
    run("import serving.server, serving.tf_serving.rest")


RECOMMEND = """
import matinee
model = matinee.load(sys.argv[1])
assert len(model.recommend(ratings={1: 5.0, 2: 3}, n=3)) == 3
print(matinee.__version__, model.recommend("1", n=2).to_polars())
"""


def test_recommendations_from_python_need_none_of_them(published):
    run(RECOMMEND, published)


def test_the_command_line_recommends_without_them(published):
    code = "from pipeline.cli import main; main()"
    assert "because of" in run(code, "recommend", "--user", 1, "--serving-dir", published).stdout


@pytest.mark.parametrize(
    ("command", "extra"), [(("run",), "pipeline"), (("index", "add", "--movies", "x.csv"), "pipeline")]
)
def test_what_is_not_installed_is_said_in_one_line(tmp_path, command, extra):
    code = "import os; os.chdir(sys.argv.pop(1)); from pipeline.cli import main; main()"
    done = run(code, tmp_path, *command, status=2)
    assert f"is not installed: pip install 'matinee[{extra}]'" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_components_do_not_import_the_pipeline():
    run("import serving.index, components.ranking_metrics; assert 'pipeline' not in sys.modules")

"""Fixtures that several tests share."""

import multiprocessing.util
import os
import pathlib
import shutil
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf
from xdist.scheduler import LoadScopeScheduling

from pipeline import cli
from pipeline.data_sample import SampleConfig, write_sample
from tests.exported import publish_untrained
from tests.workspace import Workspace

RATINGS_HEADER = "userId,movieId,rating,timestamp\n"
MOVIES_HEADER = "movieId,title,genres\n"


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Leave no file behind in the machine's directory of temporary ones, not even where a process was killed."""
    multiprocessing.util.get_temp_dir()  # Elsewhere: it is removed at exit, when pytest has removed its own.
    directory = tmp_path_factory.mktemp("t", numbered=False)
    os.environ["TMPDIR"] = tempfile.tempdir = str(directory)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A small synthetic data set; tests read it and never write to it."""
    directory = tmp_path_factory.mktemp("sample")
    write_sample(str(directory), SampleConfig(users=120, movies=300, ratings=6_000, seed=3))
    return directory


@pytest.fixture
def write_data(tmp_path: pathlib.Path):
    """Write a data set from the lines of its tables."""

    def write(ratings: str | bytes, movies: str | bytes | None = None) -> pathlib.Path:
        directory = tmp_path / "data"
        directory.mkdir(exist_ok=True)
        if movies is None:
            movies = "".join([MOVIES_HEADER, *(f"{i},Movie {i} (19{90 + i}),Comedy|Drama\n" for i in range(1, 9))])
        for name, content in (("ratings.csv", ratings), ("movies.csv", movies)):
            (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return directory

    return write


@pytest.fixture
def matinee(monkeypatch, capfd):
    """Run `matinee` in this process, as its users do; return exit status, output and errors."""

    def call(*arguments):
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["matinee", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        return stop.value.code or 0, out, err

    return call


@pytest.fixture(scope="session")
def session_run():
    """Run one signature of a SavedModel through the session loader, which is what TensorFlow Serving's does."""

    def run(directory, signature, inputs):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(directory))
            definition = meta.signature_def[signature]
            assert set(definition.inputs) == set(inputs)
            feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
            return session.run({name: info.name for name, info in definition.outputs.items()}, feeds)

    return run


@pytest.fixture(scope="session")
def finished(sample, tmp_path_factory):
    """A finished run; tests that change it take `workspace`. Returns the workspace and the output."""
    root = tmp_path_factory.mktemp("finished")
    shutil.copytree(sample, root / "data")
    workspace = Workspace(root / "data", root / "output")
    done = workspace.run()
    assert done.returncode == 0, done.stdout
    return workspace, done.stdout


@pytest.fixture(scope="session")
def finished_output(request):
    """The output of a finished run: that of MATINEE_OUTPUT, for example on real ratings, or else of `finished`."""
    given = os.environ.get("MATINEE_OUTPUT")
    return pathlib.Path(given) if given else request.getfixturevalue("finished")[0].output


@pytest.fixture(scope="session")
def published(sample, tmp_path_factory):
    """A serving root with one version, of MATINEE_OUTPUT or of untrained towers; tests only read it."""
    if given := os.environ.get("MATINEE_OUTPUT"):
        return pathlib.Path(given) / "serving"
    root = tmp_path_factory.mktemp("published")
    publish_untrained(sample, root, tmp_path_factory.mktemp("exported"))
    return root


GROUPS = {
    "tests/e2e": "e2e",
    "tests/kubeflow/test_steps.py": "steps",
    "tests/serving": "serving",
    "tests/pipeline/test_add_movies.py": "serving",
    "tests/pipeline/test_queries.py": "serving",
    "tests/components/trainer": "training",
    "tests/components/tuner": "training",
}
"""What shares session fixtures that take long to make; any other file is a group of its own."""
FIRST = ("e2e", "steps", "training", "serving", "tests/kubeflow/test_beam_workers.py")
"""The longest groups: with two workers the tests take as long as these need."""


def group_of(nodeid):
    """Return the group of tests with which a test shares a worker."""
    file = nodeid.partition("::")[0]
    return next((name for path, name in GROUPS.items() if file.startswith(path)), file)


class Groups(LoadScopeScheduling):
    """Deals whole groups out to the workers."""

    def _split_scope(self, nodeid):
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return Groups(config, log)


def pytest_collection_modifyitems(items):
    """Begin with what takes longest."""
    groups = {item: group_of(item.nodeid) for item in items}
    items.sort(key=lambda item: FIRST.index(groups[item]) if groups[item] in FIRST else len(FIRST))

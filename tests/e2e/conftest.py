"""Runs of the whole pipeline, as processes, on the small sample."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FAST = ("--epochs", "2", "--hidden-units", "32", "--batch-size", "256", "--min-recall-vs-popularity", "0")
MAIN = "from pipeline.cli import main; main()"


@dataclasses.dataclass(frozen=True)
class Workspace:
    """A data set of its own and an output directory."""

    data: pathlib.Path
    output: pathlib.Path

    @property
    def serving(self) -> pathlib.Path:
        """The serving root."""
        return self.output / "serving"

    def run(self, *options: str, before: str = "", wait: bool = True):
        """Run `matinee run` with a fast configuration.

        Args:
          *options: Further options.
          before: Python that is executed before the command, such as a fault to inject.
          wait: Whether to wait for the end.
        """
        command = [sys.executable, "-c", f"{before}\n{MAIN}", "run", "--data", str(self.data)]
        command += ["--output", str(self.output), *FAST, *options]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if not wait:
            return process
        out, _ = process.communicate(timeout=600)
        return subprocess.CompletedProcess(command, process.returncode, out)

    def lines(self, out: str) -> dict[str, str]:
        """Return component name -> state of a run's output."""
        parts = (line.split() for line in out.splitlines())
        return {part[0]: part[1] for part in parts if len(part) > 2 and part[1] in ("done", "cached", "failed")}


@pytest.fixture(scope="session")
def finished(sample, tmp_path_factory):
    """A finished run; tests copy it before they change anything. Returns the workspace and the output."""
    root = tmp_path_factory.mktemp("finished")
    shutil.copytree(sample, root / "data")
    workspace = Workspace(root / "data", root / "output")
    done = workspace.run()
    assert done.returncode == 0, done.stdout
    return workspace, done.stdout


@pytest.fixture
def workspace(finished, tmp_path):
    """The finished run under the same paths, put back after the test."""
    original, _ = finished
    shutil.copytree(original.data.parent, tmp_path / "kept", symlinks=True)
    yield original
    shutil.rmtree(original.data.parent)
    shutil.copytree(tmp_path / "kept", original.data.parent, symlinks=True)

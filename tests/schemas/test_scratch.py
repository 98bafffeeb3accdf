"""Temporary files of runs that end, and of runs that are killed."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from schemas.scratch import scratch
from tests.workspace import ROOT


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Where temporary files go without it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_what_libraries_leave_goes_with_the_run(base):
    def fails():
        with scratch():
            pathlib.Path(tempfile.mkdtemp(), "left").write_text("by a library")
            subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkdtemp()"], check=True)
            (run,) = base.iterdir()
            assert len(list(run.iterdir())) == 3, "its lock, and both directories"
            raise RuntimeError("the run fails")

    with pytest.raises(RuntimeError, match="the run fails"):
        fails()
    assert list(base.iterdir()) == []
    assert (tempfile.gettempdir(), os.environ["TMPDIR"]) == (str(base), str(base))


def test_what_a_killed_run_left_goes_with_the_next_and_a_running_one_keeps_its_own(base):
    (base / "someone-elses").mkdir()
    code = "import os, signal, tempfile\nfrom schemas.scratch import scratch\nwith scratch():\n    tempfile.mkdtemp()\n"
    subprocess.run([sys.executable, "-c", f"{code}    os.kill(os.getpid(), signal.SIGKILL)"], cwd=ROOT)
    assert len(list(base.glob("matinee-run-*"))) == 1
    other = subprocess.Popen(
        [sys.executable, "-c", f"{code}    print('ready', flush=True)\n    input()"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        other.stdout.readline()
        with scratch():
            assert len(list(base.glob("matinee-run-*"))) == 2
        assert len(list(base.glob("matinee-run-*/*"))) == 2, "the other's lock and directory"
        other.communicate(b"\n")
    assert [path.name for path in base.iterdir()] == ["someone-elses"]


def test_the_directory_of_a_run_that_has_just_made_it_stays(base):
    (base / "matinee-run-new").mkdir()
    with scratch():
        pass
    assert (base / "matinee-run-new").exists()
    os.utime(base / "matinee-run-new", (0, 0))
    with scratch():
        pass
    assert not (base / "matinee-run-new").exists()

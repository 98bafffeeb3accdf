"""The cores that TensorFlow is given."""

import os
import subprocess
import sys

import pytest

from pipeline import cores

NAMES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # So that it is as it was again, afterwards.
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("number", "of_an_operation"), [(1, "1"), (2, "1"), (64, "32")])
def test_an_operation_gets_half_of_the_cores(monkeypatch, number, of_an_operation):
    monkeypatch.setattr(cores, "cpu_count", lambda: number)
    cores.share_out()
    assert [os.environ[name] for name in NAMES] == [of_an_operation, str(number)]


def test_what_the_user_says_counts(monkeypatch):
    monkeypatch.setenv(NAMES[0], "3")
    cores.share_out()
    assert os.environ[NAMES[0]] == "3"


def test_a_container_with_one_of_the_machines_cores_gets_one():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    code += f"from pipeline import cores; cores.share_out(); print(*[os.environ[name] for name in {NAMES}])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["1", "1"]


def test_nothing_of_tensorflow_is_imported_before():
    code = "import sys; from pipeline import cli, cores, preflight; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

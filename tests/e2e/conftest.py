"""A finished run that a test may change."""

import shutil

import pytest


@pytest.fixture
def workspace(finished, tmp_path):
    """The finished run under the same paths, put back after the test."""
    original, _ = finished
    shutil.copytree(original.data.parent, tmp_path / "kept")
    yield original
    shutil.rmtree(original.data.parent)
    shutil.copytree(tmp_path / "kept", original.data.parent)

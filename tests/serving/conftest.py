"""Published versions to serve, and what serves them."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import time

import httpx
import pytest

from schemas.manifest import EMBEDDING_INDEX
from schemas.signatures import USER_TOWER
from tests.serving.harness import serving
from tests.tf_serving_double import TfServingDouble
from tests.workspace import free_ports


@pytest.fixture
def root(published, tmp_path):
    """A copy of it that a test may change."""
    for kind in (EMBEDDING_INDEX, USER_TOWER):
        # Published files are read-only; a test damages them.
        shutil.copytree(published / kind, tmp_path / "root" / kind, copy_function=shutil.copyfile)
    return tmp_path / "root"


@pytest.fixture(scope="session")
def service(published):
    """A service with the tower in the process, over a version that nobody changes."""
    with serving(published) as running:
        yield running


@pytest.fixture
def double(root):
    """A running double of TensorFlow Serving over the copy of the serving root."""
    with TfServingDouble(root / USER_TOWER).running() as running:
        yield running


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a TensorFlow Serving, or its double, is."""

    rest_url: str
    grpc_url: str


def _model_server():
    return os.environ.get("TF_MODEL_SERVER") or shutil.which("tensorflow_model_server")


@contextlib.contextmanager
def _real(published, binary):
    rest, grpc = free_ports(2)
    arguments = [f"--rest_api_port={rest}", f"--port={grpc}", f"--model_name={USER_TOWER}"]
    process = subprocess.Popen([binary, *arguments, f"--model_base_path={published / USER_TOWER}"])
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{rest}/v1/models/{USER_TOWER}").status_code == 200:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield Address(f"http://127.0.0.1:{rest}", f"grpc://127.0.0.1:{grpc}")
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session", params=["double", "tensorflow_model_server"])
def tf_serving(request, published):
    """TensorFlow Serving's double, and the real one where it is installed."""
    if request.param == "double":
        with TfServingDouble(published / USER_TOWER).running() as running:
            yield Address(running.rest_url, running.grpc_url)
    elif binary := _model_server():
        with _real(published, binary) as address:
            yield address
    else:
        pytest.skip("no tensorflow_model_server on PATH or in TF_MODEL_SERVER")

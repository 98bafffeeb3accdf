"""An S3-compatible server on loopback: moto's, in a process of its own."""

import contextlib
import dataclasses
import re
import subprocess
import sys
import time

import fsspec

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "matinee",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclasses.dataclass
class S3Server:
    """A server that runs."""

    url: str
    log: object
    process: subprocess.Popen

    @property
    def environment(self) -> dict[str, str]:
        """What botocore (fsspec, Beam) and tensorflow-io read."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "S3_ENDPOINT": self.url}

    def written(self) -> list[str]:
        """Paths of the objects that were put, in order, also those in parts."""
        found = re.findall(r'"(?:PUT|POST) (/\S+?)(?:\?uploadId\S*)? HTTP/[\d.]+" 200', self.log.read_text())
        return [path for path in found if "?" not in path]


@contextlib.contextmanager
def s3_server(log, port):
    """Start a server; its requests are logged to a file."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + 60
        while "Running on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)
        yield S3Server(f"http://127.0.0.1:{port}", log, process)
    finally:
        process.kill()
        process.wait()
        fsspec.get_filesystem_class("s3").clear_instance_cache()

"""A data set with an output directory, and runs of the whole pipeline in it."""

import contextlib
import dataclasses
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import pytest

from pipeline import cli
from tests import forked

ROOT = pathlib.Path(__file__).parents[1]
FAST = ("--epochs", "2", "--hidden-units", "32", "--batch-size", "256", "--ema-momentum", "0")
FAST += ("--min-recall-vs-popularity", "0", "--refit-epochs", "1", "--negatives", "64")


def free_ports(count: int = 1) -> list[int]:
    """Return ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def captured():
    """Send the file descriptors of output and errors to a file, which is yielded."""
    with tempfile.TemporaryFile("w+") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield file
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)


@dataclasses.dataclass(frozen=True)
class Workspace:
    """A data set of its own and an output directory."""

    data: pathlib.Path
    output: pathlib.Path

    @property
    def serving(self) -> pathlib.Path:
        """The serving root."""
        return self.output / "serving"

    def arguments(self, *options: str) -> list[str]:
        """Arguments of `matinee` with a fast configuration."""
        return ["run", "--data", str(self.data), "--output", str(self.output), *FAST, *options]

    def run(self, *options: str) -> subprocess.CompletedProcess:
        """Run `matinee run` in this process, where TFX is imported already."""
        arguments, code = self.arguments(*options), 0
        with pytest.MonkeyPatch.context() as patch, captured() as file:
            patch.setattr(sys, "argv", ["matinee", *arguments])
            try:
                cli.main()
            except SystemExit as stop:
                code = stop.code or 0
            file.flush()
            file.seek(0)
            out = file.read()
        return subprocess.CompletedProcess(arguments, code, out)

    def start(self, *options: str, fault: str, environment: dict[str, str] | None = None) -> forked.Forked:
        """Start `matinee run` as a process of its own, with a fault injected by Python code."""
        command = f"{fault}\nfrom pipeline.cli import main\nmain()"
        return forked.start(command, *self.arguments(*options), session=True, environment=environment)

    def states(self, out: str) -> dict[str, str]:
        """Return component name -> state of a run's output."""
        parts = (line.split() for line in out.splitlines())
        return {part[0]: part[1] for part in parts if len(part) > 2 and part[1] in ("done", "cached", "failed")}

"""Processes that begin with TFX imported: a server imports it once, and each process is a fork of the server.

To import TFX and TensorFlow takes most of the time of a short process. What runs in a fork is otherwise what a process
of its own would run: its arguments, environment, directory, output and exit status.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preload"])


@dataclasses.dataclass
class Forked:
    """A process, used like a `subprocess.Popen` whose output is captured as text, errors inside."""

    process: multiprocessing.process.BaseProcess
    output: pathlib.Path

    @property
    def pid(self):
        return self.process.pid

    @property
    def returncode(self):
        """The exit status; the negative signal that killed it; None while it runs."""
        return self.process.exitcode

    def communicate(self, timeout):
        """Wait for the end; return the output, and None for the errors in it."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.process.name, timeout, self.output.read_text())
        text = self.output.read_text(errors="replace")
        self.output.unlink()
        return text, None

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.join()


def start(command, *arguments, environment=None, cwd=ROOT, session=False):
    """Start a process.

    Args:
      command: Python code, or `-m` and the name of a module to run.
      *arguments: What it finds in `sys.argv` behind its name.
      environment: Its variables, all of them; this process' by default.
      cwd: Its working directory.
      session: Whether it leads a session, so that signals can be sent to it and its children.
    """
    descriptor, name = tempfile.mkstemp(prefix="matinee-forked-")
    os.close(descriptor)
    environment = dict(os.environ if environment is None else environment)
    process = _CONTEXT.Process(
        target=_run, args=(command, list(map(str, arguments)), environment, str(cwd), session, name)
    )
    process.start()
    return Forked(process, pathlib.Path(name))


def run(command, *arguments, timeout, **options):
    """Run a process to its end; return a `subprocess.CompletedProcess` with its output."""
    process = start(command, *arguments, **options)
    out, _ = process.communicate(timeout)
    return subprocess.CompletedProcess([command, *arguments], process.returncode, out)


def _run(command, arguments, environment, cwd, session, output):
    if session:
        os.setsid()
    with open(output, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    module = command.removeprefix("-m ") if command.startswith("-m ") else None
    sys.argv = [module or "-c", *arguments]
    if module:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        exec(compile(command, "<forked>", "exec"), {"__name__": "__main__"})

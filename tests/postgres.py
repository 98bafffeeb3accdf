"""A PostgreSQL of the test's own, where Debian's package is installed."""

import contextlib
import os
import pathlib
import subprocess
import tempfile

from tests.workspace import free_ports


def binaries():
    """Return the directory with its programs, or None."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextlib.contextmanager
def running():
    """Start one over an empty directory; yield its URL."""
    programs, (port,) = binaries(), free_ports()
    # It refuses to run as root, and its user does not get into the directories of the test.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="matinee-pg-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        if user:
            subprocess.run(["chown", "postgres", directory], check=True)
        data = f"{directory}/data"
        initialise = [programs / "initdb", "-D", data, "-U", "matinee", "-A", "trust", "--no-sync"]
        subprocess.run([*user, *initialise], check=True, capture_output=True, cwd="/")
        options = f"-p {port} -k {directory} -c listen_addresses=127.0.0.1"
        control = [*user, programs / "pg_ctl", "-D", data, "-w"]
        subprocess.run([*control, "-o", options, "-l", f"{directory}/log", "start"], check=True, cwd="/")
        try:
            yield f"postgresql://matinee@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")

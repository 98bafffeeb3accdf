"""A Beam SDK worker that is killed while it writes its first shard, unless one was killed before.

python dying_worker.py MARKER <the arguments of sdk_worker_main>
"""

import os
import pathlib
import runpy
import signal
import sys

from components.polars_example_gen import shards

marker = pathlib.Path(sys.argv.pop(1))
write_examples = shards.write_examples


def die_once(batches, path, tmp_dir):
    """Write the shard, and die before anybody hears of it, where the marker is new."""
    write_examples(batches, path, tmp_dir)
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


shards.write_examples = die_once
runpy.run_module("apache_beam.runners.worker.sdk_worker_main", run_name="__main__", alter_sys=True)

"""What a step's container runs: TFX's own entry, once TensorFlow knows the file systems that the step names.

    python -m pipeline.kubeflow.step <the arguments of TFX's entry>

gs:// is part of TensorFlow. s3:// comes with tensorflow-io, whose threads abort the process at Python's end after
everything is done; the process therefore ends without Python's own clean-up.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import runpy
import sys
import traceback

from pipeline import cores

_TFX_ENTRY = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"


def main() -> None:
    """Run a step and end the process."""
    code = 0
    cores.share_out()
    try:
        if any("s3://" in argument for argument in sys.argv):
            _import_s3()
        runpy.run_module(_TFX_ENTRY, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import_s3() -> None:
    if importlib.util.find_spec("tensorflow_io") is None:
        raise RuntimeError(
            "TensorFlow needs tensorflow-io for s3://, which is not installed, and which exists for Python 3.10 only: "
            "pip install 'matinee[pipeline-remote]' there, or use gs:// or a mounted volume"
        )
    import tensorflow_io  # noqa: F401


if __name__ == "__main__":
    main()

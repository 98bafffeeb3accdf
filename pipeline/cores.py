"""How TensorFlow shares out a machine's cores; imports nothing, since TensorFlow reads it once."""

from __future__ import annotations

import os


def share_out() -> None:
    """Give an operation half of the cores, so that others run beside it, unless the user has said otherwise.

    TensorFlow gives all of them to each of as many operations. A step of training takes a fifth less time with half on
    two cores (docs/scaling.md).
    """
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max((os.cpu_count() or 1) // 2, 1)))

"""How TensorFlow shares out the cores; imports nothing of it, since it reads this once."""

from __future__ import annotations

import os

from joblib import cpu_count


def share_out() -> None:
    """Give an operation half of the cores, so that others run beside it, unless the user has said otherwise.

    TensorFlow gives all of them to each of as many operations. A step of training takes a fifth less time with half on
    two cores (docs/scaling.md). The cores are those that this process may use: of a machine's, a container often has a
    share, which TensorFlow does not ask for.
    """
    cores = cpu_count()
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(cores // 2, 1)))
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", str(cores))

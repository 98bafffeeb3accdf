"""Kubeflow Pipelines: the same pipeline compiled for a cluster, and submitted to one."""


def kfp_missing(doing: str, error: ImportError, otherwise: str) -> RuntimeError:
    """Word that kfp is not installed: what needs it, and what to do instead of installing it."""
    return RuntimeError(
        f"{doing} needs the kfp package ({error}), which does not install beside TFX 1.21; use Python 3.10: "
        f"make install PYTHON=3.10 VENV=.venv310. {otherwise}"
    )

"""Names and contracts that cross a boundary between components, or between the pipeline and serving."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Return an artifact class: Kubeflow Pipelines looks for it here. On demand, because its module imports tfx."""
    if name in ("BaseModel", "MovieCatalog", "RecommendationLists", "UserHistories"):
        return getattr(importlib.import_module("schemas.artifacts"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

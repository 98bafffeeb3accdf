"""Serving: the published format and everything that runs after the push. Imports no tfx and no Beam."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.answers import MovieFilter, Recommendation, UnknownIdError
    from serving.recommender import Recommender

__all__ = ["MovieFilter", "Recommendation", "Recommender", "UnknownIdError"]
_MODULES = {"Recommender": "serving.recommender"}


def __getattr__(name: str) -> Any:
    """Import the public names on demand: who writes or reads the published format needs no recommender."""
    if name in __all__:
        return getattr(importlib.import_module(_MODULES.get(name, "serving.answers")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

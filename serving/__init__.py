"""Serving: everything that runs after the push. Imports no tfx and no Beam."""

from serving.recommender import Recommendation, Recommender

__all__ = ["Recommendation", "Recommender"]

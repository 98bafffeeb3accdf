"""Serving: everything that runs after the push. Imports no tfx and no Beam."""

from serving.records import MovieFilter, Recommendation, UnknownIdError
from serving.recommender import Recommender

__all__ = ["MovieFilter", "Recommendation", "Recommender", "UnknownIdError"]

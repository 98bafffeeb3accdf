"""Serving: everything that runs after the push. Imports no tfx and no Beam."""

from serving.recommender import Recommender
from serving.records import MovieFilter, Recommendation, UnknownIdError

__all__ = ["MovieFilter", "Recommendation", "Recommender", "UnknownIdError"]

"""Recommendations from a published model: `matinee.load("output/serving").recommend(ratings={"Toy Story": 5})`."""

import importlib.metadata

from serving.answers import AmbiguousTitleError, Movie, MovieFilter, Recommendation, SimilarMovie, UnknownIdError
from serving.recommender import Recommender

__all__ = [
    "AmbiguousTitleError",
    "Movie",
    "MovieFilter",
    "Recommendation",
    "Recommender",
    "SimilarMovie",
    "UnknownIdError",
    "load",
]
__version__ = importlib.metadata.version("matinee")
load = Recommender.load

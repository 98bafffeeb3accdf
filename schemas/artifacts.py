"""Artifact types of our own. This module imports tfx; nothing that serves imports it.

Kubeflow Pipelines finds an artifact class by its TYPE_NAME, an import path of one package and the class.
"""

from tfx.types.artifact import Artifact


class MovieCatalog(Artifact):
    """Every movie with its features and title, `movies.parquet`, and the `feature_constants.json`."""

    TYPE_NAME = "schemas.MovieCatalog"


class UserHistories(Artifact):
    """Per user the rated movies, ratings, times and the split, `histories-*.parquet`, sorted by user and time."""

    TYPE_NAME = "schemas.UserHistories"


class RecommendationLists(Artifact):
    """A list of movies for every known user, `part-*.parquet`; see `serving.bulk`."""

    TYPE_NAME = "schemas.RecommendationLists"


class BaseModel(Artifact):
    """A model that training goes on from, a SavedModel with its training state; empty where there is none."""

    TYPE_NAME = "schemas.BaseModel"

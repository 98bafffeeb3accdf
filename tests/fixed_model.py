"""A model whose vectors are given."""

import dataclasses

import numpy as np

from components.evaluation_gate.evaluate import Model
from schemas.vectors import Vectors


@dataclasses.dataclass(frozen=True)
class FixedModel(Model):
    """Knows users by their ids."""

    user_ids: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    users: Vectors | None = None

    def embed(self, data):
        return self.users[np.searchsorted(self.user_ids, data.user_ids)]


def fixed_model(data, users, movies, known=None):
    return FixedModel(lambda features: None, movies, data.constants, known, data.user_ids, users)


def shards_of(data, groups):
    """Divide a data set by users: `groups` has positions of users, in any order."""
    parts = []
    for group in groups:
        rows = np.isin(data.user, group)
        ids = data.user_ids[np.sort(group)]
        keys = None if data.user_keys is None else data.user_keys[np.sort(group)]
        user = np.searchsorted(ids, data.user_ids[data.user[rows]]).astype(np.int32)
        columns = {name: getattr(data, name)[rows] for name in ("movie", "stars", "timestamp", "train")}
        parts.append(dataclasses.replace(data, user_ids=ids, user_keys=keys, user=user, **columns))
    return parts

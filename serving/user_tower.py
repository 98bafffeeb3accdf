"""Where user embeddings come from: a small protocol, and the tower in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from schemas import signatures as s


class UserTower(Protocol):
    """Embeds raw user features with one version of the user tower."""

    def embed(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embed users.

        Args:
          features: `user_genre_rating` and `user_genre_count`, `[batch, 20]` float32 each.

        Returns:
          `[batch, dim]` float32, L2-normalised.
        """
        ...


class InProcessUserTower:
    """The user tower as a SavedModel in this process."""

    def __init__(self, model_dir: str) -> None:
        """Load the tower.

        Args:
          model_dir: Directory of one version, such as `SERVING/user_tower/1700000000`.

        Raises:
          RuntimeError: The directory holds no loadable user tower.
        """
        # TensorFlow takes seconds to import; a service that asks TensorFlow Serving never needs it.
        import tensorflow as tf

        try:
            self._model = tf.saved_model.load(model_dir)
        except OSError as error:
            raise RuntimeError(f"no user tower at {model_dir}: {error}. Publish the version again") from error
        if s.EMBED_USER not in self._model.signatures:
            raise RuntimeError(f"{model_dir} has no signature {s.EMBED_USER!r}. Publish the version again")
        self._embed = self._model.signatures[s.EMBED_USER]
        self._constant = tf.constant

    def embed(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embed users; see `UserTower`."""
        return self._embed(**{name: self._constant(value) for name, value in features.items()})[
            s.USER_EMBEDDING
        ].numpy()

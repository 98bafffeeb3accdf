"""What the towers and the model of both have in common."""

from __future__ import annotations

from typing import Any

import keras

from components.trainer.config import TrainerConfig
from schemas.configuration import from_json, to_json

PACKAGE = "matinee"
"""Under which Keras knows the models."""
_CONFIG = "trainer_config"


class Configured(keras.Model):
    """What is made of a configuration and the size of the vocabulary, and round-trips through both."""

    def __init__(self, config: TrainerConfig, vocabulary_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.vocabulary_size = config, vocabulary_size

    def build(self, input_shape: Any = None) -> None:
        """Build nothing: all layers have been built with the model."""
        del input_shape
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), _CONFIG: to_json(self.config), "vocabulary_size": self.vocabulary_size}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Configured:
        """Build the model from `get_config`."""
        del custom_objects
        given = dict(config)
        return cls(from_json(TrainerConfig, given.pop(_CONFIG)), **given)

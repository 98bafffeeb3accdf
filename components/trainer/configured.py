"""What the towers and the model of both have in common."""

from __future__ import annotations

from typing import Any

import keras

from components.trainer.config import TrainerConfig
from schemas.configuration import from_json, to_json
from schemas.domain import Domain

PACKAGE = "matinee"
"""Under which Keras knows the models."""
_CONFIG, _DOMAIN = "trainer_config", "domain_json"


class Configured(keras.Model):
    """What is made of a configuration, the size of the vocabulary and the domain, and round-trips through them."""

    def __init__(self, config: TrainerConfig, vocabulary_size: int, domain: Domain, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.vocabulary_size, self.domain = config, vocabulary_size, domain

    def build(self, input_shape: Any = None) -> None:
        """Build nothing: all layers have been built with the model."""
        del input_shape
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            _CONFIG: to_json(self.config),
            _DOMAIN: to_json(self.domain),
            "vocabulary_size": self.vocabulary_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Configured:
        """Build the model from `get_config`."""
        del custom_objects
        given = dict(config)
        domain = from_json(Domain, given.pop(_DOMAIN))
        return cls(from_json(TrainerConfig, given.pop(_CONFIG)), domain=domain, **given)

"""How configuration classes are declared: frozen dataclasses whose field docstrings become help texts."""

from pydantic import ConfigDict

FROZEN = ConfigDict(use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)
"""Passed to `pydantic.dataclasses.dataclass(frozen=True, config=FROZEN)`."""

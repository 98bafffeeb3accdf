"""How configuration classes are declared, and how they travel: frozen dataclasses, one JSON each.

A component has one class, in its own folder. Docstrings under the fields become help texts, and ranges are checked by
the class alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

FROZEN = ConfigDict(use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)
"""Passed to `pydantic.dataclasses.dataclass(frozen=True, config=FROZEN)`."""
CONFIG = "config"
"""Exec property that holds a component's configuration."""

_Config = TypeVar("_Config")


def fields_of(cls: type) -> dict[str, FieldInfo]:
    """Return the fields of a configuration class, with what is documented of each."""
    fields: dict[str, FieldInfo] = getattr(cls, "__pydantic_fields__")  # noqa: B009  Unknown to the type checker.
    return fields


def build(cls: type[_Config], values: Any, where: str = "the options") -> _Config:
    """Build a configuration from plain data.

    Args:
      cls: The configuration class.
      values: Field name -> value.
      where: Where the values were given, for the error.

    Raises:
      ValueError: A value is unknown or out of range; the message names it and where it was given.
    """
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        problems = dict.fromkeys(_worded(each) for each in error.errors())
        raise ValueError(f"{where}: {'; '.join(problems)}") from None


def _worded(error: Any) -> str:
    """Word one of pydantic's errors for who writes YAML, who knows neither its types nor Python's."""
    place = ".".join(str(part) for part in error["loc"] if part not in ("str", "int") and "[" not in str(part))
    if error["type"] == "missing":
        return f"{place} is missing"
    message = error["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
    if error["type"] == "dataclass_type":
        message = "expected a section"
    # What holds other values is no value to show.
    value = "" if isinstance(error["input"], Mapping | list | tuple) else f" = {error['input']!r}"
    return f"{place}{value}: {message}"


def replace(config: _Config, values: Mapping[str, Any], where: str = "the options") -> _Config:
    """Return a configuration with some values replaced.

    Raises:
      ValueError: As `build`.
    """
    return build(type(config), dataclasses.asdict(config) | dict(values), where)  # type: ignore[call-overload]


def to_json(config: object) -> str:
    """Serialise a configuration, the same values to the same text."""
    return json.dumps(TypeAdapter(type(config)).dump_python(config, mode="json"), sort_keys=True)


def from_json(cls: type[_Config], text: str) -> _Config:
    """Parse a configuration.

    Raises:
      ValueError: The text is no JSON, or as `build`.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{cls.__name__} is not readable as JSON: {error}") from None
    return build(cls, values, cls.__name__)


def to_property(config: Any) -> Any:
    """Return what a component's spec takes for a configuration: its JSON, or an orchestrator's run-time parameter."""
    return to_json(config) if dataclasses.is_dataclass(config) else config


def from_properties(cls: type[_Config], exec_properties: Mapping[str, Any]) -> _Config:
    """Read the configuration that a component was given.

    Raises:
      ValueError: As `from_json`.
    """
    return from_json(cls, exec_properties[CONFIG])

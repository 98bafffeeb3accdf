"""Options of the command line, made from the configuration classes, so that each default and text stands once."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Collection
from typing import Any

import typer

from schemas.configuration import fields_of


def options_of(title: str, cls: type) -> list[inspect.Parameter]:
    """Make one option of every field of a configuration class.

    Args:
      title: Heading of the options in the help.
      cls: A pydantic dataclass whose fields are described by docstrings.

    Returns:
      Keyword parameters whose value is None where the option is not given.
    """
    parameters = []
    for name, field in fields_of(cls).items():
        base = _plain(field.annotation)
        if typing.get_origin(base) is dict or dataclasses.is_dataclass(base):
            continue  # A table is for a file.
        many = typing.get_origin(base) is tuple
        default = field.default
        shown = "unset" if default in (None, ()) else ",".join(map(str, default)) if many else str(default)
        flag = f"--{name.replace('_', '-')}"
        option = typer.Option(
            f"{flag}/--no-{flag[2:]}" if base is bool else flag,
            help=field.description,
            rich_help_panel=title,
            show_default=shown,
        )
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=typing.Annotated[
                    (str if many or base not in (int, float, str, bool) else base) | None, option
                ],
            )
        )
    return parameters


def with_options(
    command: Callable[..., Any],
    sections: dict[str, type],
    helps: dict[str, str],
    only: Collection[str] | None = None,
) -> Callable[..., Any]:
    """Give a command the options of configuration classes.

    Args:
      command: Function with a last parameter `**overrides`.
      sections: Section name -> class.
      helps: Section name -> heading.
      only: Names of the fields that become options; all by default.

    Returns:
      A function with the options in its signature.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    every = [p for name, cls in sections.items() for p in options_of(helps[name], cls)]
    extra = [p for p in every if only is None or p.name in only]
    tuples = {
        name
        for cls in sections.values()
        for name, field in fields_of(cls).items()
        if typing.get_origin(_plain(field.annotation)) is tuple
    }

    def wrapped(**kwargs: Any) -> Any:
        for name in tuples:
            if kwargs.get(name) is not None:
                kwargs[name] = [part.strip() for part in kwargs[name].split(",")]
        return command(**kwargs)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    vars(wrapped)["__signature__"] = signature.replace(parameters=own + extra)
    wrapped.__annotations__ = {p.name: p.annotation for p in own + extra}
    return wrapped


def _plain(annotation: Any) -> Any:
    """Strip `Annotated` and `| None` from a type."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = (arg for arg in typing.get_args(annotation) if arg is not type(None))
        return _plain(annotation)
    return annotation

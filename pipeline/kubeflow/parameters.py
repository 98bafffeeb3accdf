"""Run-time parameters of a compiled pipeline."""

from __future__ import annotations

DATA = "data"
"""Run-time parameter of the data set; the others are named as the components' parameters that they set."""
RUNTIME_SECTIONS = ("data", "trainer", "tuner", "warm_start", "gate", "pusher", "bulk")
"""Sections of the configuration that a run may change: those that a component reads. One parameter each and not one in
all: a step whose own section is the same stays cached."""


def config_parameter(section: str) -> str:
    """Return the name of the run-time parameter that holds a section's JSON."""
    return f"{section}_config"


def section_of(parameter: str) -> str | None:
    """Return the section whose JSON a run-time parameter holds; None if it is none of these."""
    return next((section for section in RUNTIME_SECTIONS if config_parameter(section) == parameter), None)

"""What is known of a user beyond what a version holds."""

from __future__ import annotations

import dataclasses

from serving.answers import Id


@dataclasses.dataclass(frozen=True)
class Changes:
    """What a user's events change."""

    until: int
    """The number of the latest event: with the same one the changes are the same."""
    ratings: dict[Id, float | None] = dataclasses.field(default_factory=dict)
    """Movie -> rating, the latest last; None: taken back."""
    times: dict[Id, int] = dataclasses.field(default_factory=dict)
    """Movie -> when it was rated, Unix seconds."""
    hidden: tuple[Id, ...] = ()
    """Movies that were seen, or are not wanted."""
    forgotten_at_s: int | None = None
    """Ratings of this time and before are gone."""

"""Two versions side by side: which one's lists are used more, by a test that may be looked at at any time.

What counts is the share of shown movies (`impression`) that the user then chose (`click`) or liked (`rating`). Users
are the units: what one of them does is not independent, so that the variance of the share is that of a ratio of sums
over users (the delta method). The test is the mixture sequential probability ratio test (Johari, Pekelis and Walsh
2017, "Always valid inference"): its p-value may be looked at after every event, and the decision taken at the first one
below `alpha`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Final, Literal

import numpy as np

from serving.events.model import CLICK, IMPRESSION, RATING, Event

PROMOTE: Final = "promote"
ROLL_BACK: Final = "roll back"
GO_ON: Final = "go on"
Decision = Literal["promote", "roll back", "go on"]
COUNTED: Final = (IMPRESSION, CLICK, RATING)
"""Kinds of events that say something."""
ALPHA = 0.05
_LOOKS = 200
"""How often the ratio is computed over the events: the largest one counts."""
_LEAST_USERS = 100
"""Of each version, before anything is concluded: below, sums are not normal yet."""
_SCALE = 0.2
"""Of the mixture: the difference that is looked for first, as a share of the rate of both."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """What happened with one version."""

    version: int
    users: int
    impressions: int
    interactions: int
    """Impressions that were followed by a choice or a liking."""

    @property
    def rate(self) -> float:
        """Interactions an impression."""
        return self.interactions / self.impressions if self.impressions else math.nan


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A version beside another one."""

    new: Arm
    old: Arm
    difference: float
    """Of the rates."""
    low: float
    high: float
    """Bounds of the difference that hold at all times together, with a probability of 1 - alpha."""
    p_value: float
    """Always valid."""
    decision: Decision


@dataclasses.dataclass
class _Shown:
    """What the users of one version were shown and chose."""

    of_user: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    """User -> (impressions, interactions)."""
    open: set[tuple[str, str | None]] = dataclasses.field(default_factory=set)
    """Impressions that nothing has followed yet."""

    def show(self, event: Event) -> None:
        self.of_user.setdefault(event.user_id, [0, 0])[0] += 1
        self.open.add((event.user_id, event.movie_id))

    def choose(self, event: Event) -> None:
        place = event.user_id, event.movie_id
        if place in self.open:
            self.open.discard(place)
            self.of_user[event.user_id][1] += 1

    def rate(self) -> tuple[float, float]:
        """Return the share of impressions, and its variance."""
        shown, chosen = np.array([*self.of_user.values()], np.float64).T
        rate = chosen.sum() / shown.sum()
        return rate, float(((chosen - rate * shown) ** 2).sum() / shown.sum() ** 2 * len(shown) / (len(shown) - 1))

    def arm(self, version: int) -> Arm:
        counts = np.array([*self.of_user.values(), [0, 0]]).sum(axis=0)
        return Arm(version, len(self.of_user), int(counts[0]), int(counts[1]))


def compare(events: Iterable[Event], new: int, old: int, liked: float, alpha: float = ALPHA) -> Comparison:
    """Compare two versions by what followed their lists.

    Args:
      events: All of them, in their order.
      new: A version.
      old: The one that it is to replace.
      liked: Rating from which on a movie is liked, on the data's scale.
      alpha: How often a difference may be found, over all looks together, where there is none.
    """
    of = {new: _Shown(), old: _Shown()}
    counted = [event for event in events if event.model_version in of and event.kind in COUNTED]
    looks = {round(len(counted) * part / _LOOKS) for part in range(1, _LOOKS + 1)}
    largest, difference, low, high = 1.0, math.nan, -math.inf, math.inf
    for number, event in enumerate(counted, 1):
        shown = of[event.model_version or 0]
        if event.kind == IMPRESSION:
            shown.show(event)
        elif event.kind == CLICK or (event.rating or 0) >= liked:
            shown.choose(event)
        if number in looks and all(len(each.of_user) >= _LEAST_USERS for each in of.values()):
            (rate_new, variance_new), (rate_old, variance_old) = of[new].rate(), of[old].rate()
            variance, scale = variance_new + variance_old, (_SCALE * (rate_new + rate_old) / 2) ** 2
            if variance <= 0 or scale <= 0:
                continue
            difference = rate_new - rate_old
            ratio = math.sqrt(variance / (variance + scale)) * math.exp(
                min(700.0, scale * difference**2 / (2 * variance * (variance + scale)))
            )
            largest = max(largest, ratio)
            reach = 2 * math.log(1 / alpha) + math.log((variance + scale) / variance)
            width = math.sqrt(variance * (variance + scale) / scale * reach)
            low, high = max(low, difference - width), min(high, difference + width)
            if 1 / largest <= alpha:
                break  # Decided, then: what comes later decides nothing any more.
    p_value = 1 / largest
    decision: Decision = GO_ON if p_value > alpha else PROMOTE if difference > 0 else ROLL_BACK
    return Comparison(of[new].arm(new), of[old].arm(old), difference, low, high, p_value, decision)


def latest_pair(events: Iterable[Event]) -> tuple[int, int]:
    """Return the two versions that were shown last, the newer one first.

    Raises:
      ValueError: There are not two.
    """
    last = {event.model_version: place for place, event in enumerate(events) if event.kind == IMPRESSION}
    versions = sorted((version for version in last if version is not None), key=lambda version: last[version])[-2:]
    if len(versions) < 2:
        raise ValueError("there are no impressions of two versions to compare; send them as events")
    return max(versions), min(versions)

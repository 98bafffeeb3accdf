"""Trying what a model's users are better off with, as long as it gets better; and whether it is more than chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

_T = TypeVar("_T")


def climb(
    score: Callable[[_T], np.ndarray], start: _T, at_start: np.ndarray, tries: Iterable[_T]
) -> tuple[_T, np.ndarray]:
    """Try one after the other until one is no better in the mean: what is further away is not better either.

    Args:
      score: What is tried -> how good it is for every user, `[users]`.
      start: What is to be better than.
      at_start: Its score.
      tries: What is tried, away from the start.

    Returns:
      The best, and its score.
    """
    best, highest = start, at_start
    for tried in tries:
        found = score(tried)
        if found.mean() > highest.mean():
            best, highest = tried, found
        else:
            break
    return best, highest


def is_clear(gain: np.ndarray, least: float, standard_errors: float) -> bool:
    """Return whether what users gain, `[users]`, is enough in the mean, and more than chance."""
    error = gain.std() / np.sqrt(max(len(gain), 1))
    return bool(gain.mean() >= max(least, standard_errors * error))

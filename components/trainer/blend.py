"""How much each part of the embedding counts in the ranking: as configured, or as held-out ratings clearly want it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

PARTS = ("co_rating", "genre", "popularity", "new_user_popularity")
"""Parts with a weight, beside the learned one, whose weight is 1."""
_STANDARD_ERRORS = 3.0
FACTORS = {"genre": (0.5, 0.0), "popularity": (0.5, 0.0), "co_rating": (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06, 0.0)}
"""What the weights are multiplied with, one part after the other, to rank better for users of whom much is known."""
FACTORS_OF_NEW = {"new_user_popularity": (2.0, 4.0)}
"""The same for somebody new."""


def search(
    ndcg: Callable[[np.ndarray], np.ndarray],
    configured: np.ndarray,
    least_gain: float,
    factors: Mapping[str, Sequence[float]] = FACTORS,
) -> tuple[np.ndarray, float]:
    """Search for weights that rank better for eval users.

    The configured weights also serve what held-out ratings do not show: that niches get niches, that dislikes push
    away, and that not all lists are of what everybody knows. So they give way only to what is clearly better: by
    `least_gain`, and by three standard errors of the difference, which of few users is chance.

    Args:
      ndcg: Weights, in the order of `PARTS` -> NDCG@10 of every user, `[users]`.
      configured: `[parts]` float32, the weights to start from.
      least_gain: Share by which NDCG@10 must be higher for other weights.
      factors: What is tried, until it is no better.

    Returns:
      The weights, and their mean NDCG@10.
    """
    at_first = highest = ndcg(configured)
    best = configured
    for part, tries in factors.items():
        place = PARTS.index(part)
        for factor in tries:
            tried = best.copy()
            tried[place] = configured[place] * factor
            found = ndcg(tried)
            if found.mean() > highest.mean():
                best, highest = tried, found
            else:
                break  # What is further away is not better either.
    gain = highest - at_first
    error = gain.std() / np.sqrt(max(len(gain), 1))
    if gain.mean() >= max(at_first.mean() * least_gain, _STANDARD_ERRORS * error):
        return best, float(highest.mean())
    return configured, float(at_first.mean())

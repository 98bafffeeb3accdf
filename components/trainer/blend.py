"""How much each part of the embedding counts in the ranking: as configured, or as held-out ratings clearly want it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from components.trainer.climbing import climb, is_clear

PARTS = ("co_rating", "genre", "popularity", "new_user_popularity")
"""Parts with a weight, beside the learned one, whose weight is 1."""


@dataclasses.dataclass(frozen=True)
class Tries:
    """Which other weights are tried, and when they are taken."""

    factors: Sequence[tuple[str, Sequence[float]]]
    """What the weights of the parts are multiplied with, one after the other."""
    gain_share: float
    """Share of the least gain that is enough."""
    standard_errors: float
    """How many of the difference's it must be as well."""


OF_KNOWN = Tries(
    (
        ("genre", (0.5, 0.0)),
        ("popularity", (0.5, 0.0)),
        ("co_rating", (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06, 0.0)),
    ),
    gain_share=1.0,
    standard_errors=3.0,
)
"""To rank better for users of whom much is known."""
OF_KEPT = Tries(
    (*OF_KNOWN.factors, ("popularity", (-0.5, -1.0, -1.5, -2.0, -3.0))), gain_share=1.25, standard_errors=3.0
)
"""The same with the model that training keeps, as far as popularity in a movie's favour. That makes lists of what
everybody knows, and must be worth a quarter more."""
OF_NEW = Tries((("new_user_popularity", (2.0, 4.0, 8.0)),), gain_share=0.2, standard_errors=2.0)
"""To rank better for somebody new. What eval users liked after their first ratings is trained on, which speaks against
popularity; and it spares whoever keeps to a genre anyway. So less is enough."""


def search(
    ndcg: Callable[[np.ndarray], np.ndarray],
    configured: np.ndarray,
    least_gain: float,
    tries: Tries = OF_KNOWN,
) -> np.ndarray:
    """Search for weights that rank better for eval users.

    The configured weights also serve what held-out ratings do not show: that niches get niches, that dislikes push
    away, and that not all lists are of what everybody knows. So they give way only to what is clearly better: by
    `least_gain`, and by three standard errors of the difference, which of few users is chance.

    Args:
      ndcg: Weights, in the order of `PARTS` -> NDCG@10 of every user, `[users]`.
      configured: `[parts]` float32, the weights to start from.
      least_gain: Share by which NDCG@10 must be higher for other weights.
      tries: What is tried, until it is no better.

    Returns:
      The weights.
    """
    best, highest = configured, ndcg(configured)
    at_first = highest
    for part, factors in tries.factors:
        place = PARTS.index(part)
        weights = (_with(best, place, configured[place] * factor) for factor in factors)
        best, highest = climb(ndcg, best, highest, weights)
    least = at_first.mean() * least_gain * tries.gain_share
    return best if is_clear(highest - at_first, least, tries.standard_errors) else configured


def _with(weights: np.ndarray, place: int, weight: float) -> np.ndarray:
    changed = weights.copy()
    changed[place] = weight
    return changed

"""The decision: bless a model or refuse it, with the reason in one line."""

from __future__ import annotations

import dataclasses

from components.evaluation_gate.config import GateConfig
from schemas.evaluation import GLOBAL_MEAN, POPULARITY, Comparison, Measures, RankedList, RatingError


@dataclasses.dataclass(frozen=True)
class Decision:
    """What the gate decided."""

    blessed: bool
    reason: str
    """One line."""


def decide(evaluation: Measures, comparison: Comparison | None, config: GateConfig) -> Decision:
    """Hold an evaluation against the thresholds.

    Args:
      evaluation: The model beside the baselines.
      comparison: The model beside the served one, or None where nothing is served.
      config: Thresholds.

    Returns:
      Blessed if no threshold is missed; the reason lists every one that is. Where all ratings are the same, there is
      none of the RMSE by default.
    """
    rmse, recall = evaluation.model.rmse, evaluation.model.recall
    mean_rmse = evaluation.baseline(GLOBAL_MEAN, RatingError).rmse
    popularity = evaluation.baseline(POPULARITY, RankedList).recall
    misses = []
    # Where all ratings are the same, as events are, they say nothing of who likes what.
    if config.max_rmse is None and mean_rmse > 0 and not rmse < mean_rmse:
        misses.append(f"RMSE {rmse:.4f} is not below the global mean's {mean_rmse:.4f}")
    if config.max_rmse is not None and not rmse <= config.max_rmse:
        misses.append(f"RMSE {rmse:.4f} is above max_rmse {config.max_rmse:.4f}")
    if config.min_recall is not None and not recall >= config.min_recall:
        misses.append(f"recall@10 {recall:.4f} is below min_recall {config.min_recall:.4f}")
    if not recall >= config.min_recall_vs_popularity * popularity:
        misses.append(
            f"recall@10 {recall:.4f} is below {config.min_recall_vs_popularity:g} x the popularity list's "
            f"{popularity:.4f}"
        )
    if comparison:
        ours, served = comparison.candidate, comparison.served
        if not ours.rmse <= served.rmse + config.max_rmse_increase:
            misses.append(
                f"RMSE {ours.rmse:.4f} is more than {config.max_rmse_increase:g} above the served model's "
                f"{served.rmse:.4f}"
            )
        if not ours.recall >= served.recall - config.max_recall_decrease:
            misses.append(
                f"recall@10 {ours.recall:.4f} is more than {config.max_recall_decrease:g} below the served "
                f"model's {served.recall:.4f}"
            )
    if misses:
        return Decision(False, "refused: " + "; ".join(misses))
    beside = f", served model {comparison.served.rmse:.4f}" if comparison else ", nothing served yet"
    return Decision(
        True,
        f"blessed: RMSE {rmse:.4f} (global mean {mean_rmse:.4f}{beside}), recall@10 {recall:.4f} "
        f"(popularity {popularity:.4f})",
    )

import pytest

from components.evaluation_gate.config import GateConfig
from components.evaluation_gate.gate import decide
from schemas.evaluation import (
    GLOBAL_MEAN,
    POPULARITY,
    Comparison,
    Measures,
    ModelQuality,
    Quality,
    RankedList,
    RatingError,
)

ERROR = RatingError(rmse=1.07, mae=0.8, ratings=100)
LIST = RankedList(recall=0.055, ndcg=0.04, users=50, coverage=0.01, famous=0.9)
EVALUATION = Measures(
    model=ModelQuality(rmse=0.85, mae=0.6, ratings=100, recall=0.09, ndcg=0.07, users=50, coverage=0.1, famous=0.4),
    baselines={GLOBAL_MEAN: ERROR, POPULARITY: LIST},
    slices={},
)
SERVED = Comparison(
    candidate=Quality(rmse=0.85, mae=0.6, ratings=100, recall=0.09, ndcg=0.07, users=50),
    served=Quality(rmse=0.845, mae=0.6, ratings=100, recall=0.095, ndcg=0.07, users=50),
)


def changed(base, **values):
    """Replace metrics: `model__rmse=1`."""
    for path, value in values.items():
        part, metric = path.split("__")
        base = base.model_copy(update={part: getattr(base, part).model_copy(update={metric: value})})
    return base


def test_a_good_model_is_blessed_with_its_numbers():
    decision = decide(EVALUATION, None, GateConfig())
    assert decision.blessed
    assert decision.reason == (
        "blessed: RMSE 0.8500 (global mean 1.0700, nothing served yet), recall@10 0.0900 (popularity 0.0550)"
    )
    assert decide(EVALUATION, SERVED, GateConfig()).blessed, "a little worse than the served model is allowed"


@pytest.mark.parametrize(
    ("evaluation", "comparison", "config", "reason"),
    [
        (changed(EVALUATION, model__rmse=1.08), None, {}, "RMSE 1.0800 is not below the global mean's 1.0700"),
        (EVALUATION, None, {"max_rmse": 0.8}, "RMSE 0.8500 is above max_rmse 0.8000"),
        (EVALUATION, None, {"min_recall": 0.1}, "recall@10 0.0900 is below min_recall 0.1000"),
        (changed(EVALUATION, model__recall=0.05), None, {}, "below 1 x the popularity list's 0.0550"),
        (EVALUATION, changed(SERVED, served__rmse=0.83), {}, "more than 0.01 above the served model's 0.8300"),
        (EVALUATION, changed(SERVED, served__recall=0.11), {}, "more than 0.01 below the served model's 0.1100"),
        (changed(EVALUATION, model__rmse=float("nan")), None, {}, "RMSE nan is not below"),
        (changed(EVALUATION, model__recall=float("nan")), None, {}, "recall@10 nan is below"),
    ],
)
def test_every_threshold_refuses_and_says_why(evaluation, comparison, config, reason):
    decision = decide(evaluation, comparison, GateConfig(**config))
    assert not decision.blessed
    assert decision.reason.startswith("refused: ")
    assert reason in decision.reason
    assert "\n" not in decision.reason


def test_thresholds_can_be_widened():
    weak = changed(EVALUATION, model__rmse=1.08, model__recall=0.01)
    assert decide(weak, None, GateConfig(max_rmse=1.2, min_recall_vs_popularity=0)).blessed

"""What the gate measures and decides, as the ModelEvaluation artifact holds it: `evaluation.json`.

Metrics that cannot be measured, for want of rows, are 0.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

MODEL, GLOBAL_MEAN, BIASES, POPULARITY = "model", "global mean", "biases", "popularity"
"""Names of what is measured: the model, and baselines."""
RECENT_POPULARITY = {days: f"popularity, last {days} days" for days in (30, 7)}
"""The same of popularity among the latest train ratings alone, by number of days."""


class _Measured(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # `recall@10` is no name that Python knows.
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        ser_json_inf_nan="constants",
    )


class RatingError(_Measured):
    """How far predicted ratings are from given ones."""

    rmse: float
    """Root mean squared error on the data set's scale, predictions clipped to the scale."""
    mae: float
    """Mean absolute error, likewise."""
    ratings: int
    """Over how many ratings."""


class RankingQuality(_Measured):
    """How well unseen movies are ranked."""

    recall: Annotated[float, Field(alias="recall@10")]
    """Mean of hits among the top 10 / min(relevant, 10) over users who liked one in eval."""
    ndcg: Annotated[float, Field(alias="ndcg@10")]
    """Mean of the discounted gain over that of the best possible list, likewise."""
    users: int
    """Over how many users."""


class RankedList(RankingQuality):
    """A ranking of every user's unseen movies."""

    coverage: float
    """Share of the catalogue in at least one top 10."""
    famous: float
    """Share of the top tens' movies that are among the 100 with the most train ratings."""


class Quality(RatingError, RankingQuality):
    """Both, of a model on some rows."""


class ModelQuality(Quality, RankedList):
    """Both, of a model on all eval ratings."""


_Kind = TypeVar("_Kind", RatingError, RankedList)


class Comparison(_Measured):
    """Candidate and served model on the rows that both can score."""

    candidate: Quality
    served: Quality


class Measures(_Measured):
    """A model beside the baselines."""

    model: ModelQuality
    baselines: dict[str, RatingError | RankedList]
    """Name -> what it predicts or ranks."""
    slices: dict[str, dict[str, Quality | RatingError]]
    """Kind of slice -> name of the slice -> the model on it."""

    def baseline(self, name: str, kind: type[_Kind]) -> _Kind:
        """Return a baseline that predicts (`RatingError`) or ranks (`RankedList`).

        Raises:
          ValueError: There is none of this name and kind.
        """
        found = self.baselines.get(name)
        if not isinstance(found, kind):
            raise ValueError(f"the evaluation has no {kind.__name__} of {name!r}")
        return found


class Evaluation(Measures):
    """The gate's measurements and its decision."""

    served_version: int | None
    """The version that was compared with; None where nothing is served."""
    comparison: Comparison | None
    """Likewise."""
    blessed: bool
    reason: str
    """The decision in one line."""

    def to_json(self) -> str:
        """Serialise."""
        return self.model_dump_json(indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Evaluation:
        """Parse; raises ValueError if a field is missing or of the wrong type."""
        return cls.model_validate_json(text)

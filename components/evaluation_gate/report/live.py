"""How far those who ask the service are from those the served model has learned from."""

from __future__ import annotations

import collections
import dataclasses
import math

import fsspec
import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import FEATURE_Z, NAMESPACE

_TIMEOUT_S = 10.0
_FAR = 2.0
"""Standard deviations; one of the bounds of the service's buckets."""
_DRIFTED = 1.0
"""The same of a median, as the alert `MatineeFeatureDrift` has it."""


@dataclasses.dataclass(frozen=True)
class LiveFeature:
    """A feature of the users who asked, in standard deviations from the mean of the served model's train ratings."""

    name: str
    users: int
    """How often somebody was embedded; a known user who asks again is not, while the service remembers them."""
    median: float
    low: float
    """Share of users two standard deviations or more below."""
    high: float
    """Share of users more than two standard deviations above."""

    @property
    def drifted(self) -> bool:
        """Whether others ask than those the model has learned from."""
        return abs(self.median) > _DRIFTED


@dataclasses.dataclass(frozen=True)
class Live:
    """What a service says of the users who asked since it started, or why it says nothing."""

    source: str
    features: tuple[LiveFeature, ...] = ()
    problem: str = ""


def live_features(metrics: str) -> tuple[LiveFeature, ...]:
    """Read the metrics of a service, or of several, one behind the other.

    Args:
      metrics: In Prometheus' text format.

    Returns:
      The features by name.

    Raises:
      ValueError: It is something else, or holds no feature.
    """
    buckets: dict[str, dict[float, float]] = {}
    for family in text_string_to_metric_families(metrics):
        if family.name == f"{NAMESPACE}_{FEATURE_Z}":
            for sample in family.samples:
                if "le" in sample.labels:
                    counts = buckets.setdefault(sample.labels["feature"], collections.defaultdict(float))
                    counts[float(sample.labels["le"])] += sample.value
    found = [_feature(name, counts) for name, counts in sorted(buckets.items()) if counts[math.inf]]
    if not found:
        raise ValueError(
            f"no {NAMESPACE}_{FEATURE_Z} in it: nobody has asked yet, or the user tower is not in the service's process"
        )
    return tuple(found)


def _feature(name: str, counts: dict[float, float]) -> LiveFeature:
    """Read a histogram: bound -> how many are below it or at it. A sum it has not: Prometheus' do not go down."""
    users = counts[math.inf]
    bounds = sorted(bound for bound in counts if bound < math.inf)
    median = float(np.interp(users / 2, [counts[bound] for bound in bounds], bounds))
    return LiveFeature(name, int(users), median, counts[-_FAR] / users, 1 - counts[_FAR] / users)


def read_live(path: str) -> Live:
    """Read a service's metrics; what is wrong with them is said in the report, and keeps no model from being published.

    Args:
      path: A file's path or URI, or the address of `/metrics`.
    """
    try:
        return Live(path, live_features(_text(path)))
    except Exception as error:  # A store's client has exceptions of its own.
        return Live(path, problem=f"{type(error).__name__}: {error}")


def _text(path: str) -> str:
    if path.startswith(("http://", "https://")):
        return httpx.get(path, timeout=_TIMEOUT_S, follow_redirects=True).raise_for_status().text
    with fsspec.open(path, "r", encoding="utf-8") as file:
        text: str = file.read()
    return text

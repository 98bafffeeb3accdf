"""Prometheus metrics of the service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from serving.config import METRICS_DIR

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
NAMESPACE, FEATURE_Z = "matinee", "feature_z"
_DEVIATIONS = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)


class Metrics:
    """Every metric of one service, in a registry of its own."""

    def __init__(self) -> None:
        """Register the metrics."""
        self._registry = CollectorRegistry()
        metric: dict[str, Any] = {"namespace": NAMESPACE, "registry": self._registry}
        self.requests = Counter("requests", "Requests answered", ["method", "route", "status"], **metric)
        self.latency = Histogram(
            "request_seconds", "Time to answer a request", ["method", "route"], buckets=_SECONDS, **metric
        )
        self.stage = Histogram(
            "stage_seconds",
            "Time in a stage, for all who ask at once: features, tower or search",
            ["stage"],
            buckets=_SECONDS,
            **metric,
        )
        self.features = Histogram(
            FEATURE_Z,
            "Features of users who asked, in standard deviations from the mean of the train ratings",
            ["feature"],
            buckets=_DEVIATIONS,
            **metric,
        )
        self.kept_lists = Counter("kept_lists", "Lists that were asked for again and had been kept", **metric)
        self.tower_errors = Counter("tower_errors", "Failed calls of the user tower", ["kind"], **metric)
        self.workers = Gauge("workers", "Processes that answer", multiprocess_mode="livesum", **metric)
        self.workers.set(1)
        latest = metric | {"multiprocess_mode": "livemostrecent"}
        self.version = Gauge("model_version", "Version in use, 0 before the first", **latest)
        self.tried = Gauge("tried_version", "Version that is tried with a share of the users", **latest)
        self.movies = Gauge("index_movies", "Movies in the index in use", **latest)
        self.users = Gauge("index_users", "Users in the index in use", **latest)
        self.swaps = Counter("version_swaps", "Versions taken into use", **metric)
        self.refused = Counter("versions_refused", "Attempts to load a version that failed", **metric)

    def observe_features(self, z_scores: Mapping[str, np.ndarray]) -> None:
        """Count users' features, of each name the mean over its columns: `[users]` standard deviations."""
        for name, values in z_scores.items():
            histogram = self.features.labels(name)
            for value in values.tolist():
                histogram.observe(value)

    def text(self) -> bytes:
        """Return them in Prometheus' text format; of several workers those of all."""
        if METRICS_DIR not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)

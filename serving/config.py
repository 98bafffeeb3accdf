"""Configuration of the service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN

METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of Prometheus' client, read when it is imported: where workers keep their metrics, to tell those of all."""


@dataclass(frozen=True, config=FROZEN)
class TowerConfig:
    """Where the user tower is, and how long the service waits for it."""

    tf_serving: str | None = None
    """TensorFlow Serving with the user tower, http://host:8501 (REST) or grpc://host:8500; in this process if unset."""
    timeout_s: Annotated[float, Field(gt=0)] = 0.5
    """Seconds until a request to TensorFlow Serving is given up."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How often a request is sent in all where TensorFlow Serving does not answer."""
    backoff_s: Annotated[float, Field(ge=0)] = 0.05
    """Longest pause before a second attempt in seconds, doubled for each further one; a pause is drawn at random."""
    failures_to_open: Annotated[int, Field(ge=1)] = 5
    """Failures in a row after which TensorFlow Serving is left alone for a while (a circuit breaker)."""
    recovery_s: Annotated[float, Field(gt=0)] = 5.0
    """How long it is left alone, in seconds."""


@dataclass(frozen=True, config=FROZEN)
class ServiceConfig:
    """The HTTP service."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every one."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port to listen on; 0 for a free one."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes that answer, behind one port and with one copy of a version; one for each core at most."""
    events: str | None = None
    """Keep what users do, and count it at once: a SQLite file or postgresql://user@host/database; off if unset."""
    canary: str | None = None
    """Try a version with a share of the users, VERSION=10% or newest=10%, until `matinee compare` has decided."""
    poll_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds between two looks for a new version under the serving root."""
    load_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds in which a version must be loaded; a later version does not wait that long."""
    kept_lists_mb: Annotated[int, Field(ge=0)] = 16
    """Megabytes of known users' lists that each worker keeps, for when the same is asked for again; 0: none."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    """Largest request body in bytes."""
    api_key_file: str | None = None
    """File with the key that requests to /v1 must carry in X-API-Key; without one, anybody may ask."""
    traces: Annotated[str, Field(pattern=r"^https?://[^/\s]")] | None = None
    """OpenTelemetry collector to send spans of requests and their stages to (OTLP over HTTP), http://host:4318."""
    allowed_origins: tuple[str, ...] = ()
    """Origins whose pages may call the API from a browser (CORS), such as https://shop.example; * for every one."""
    shutdown_s: Annotated[int, Field(ge=0)] = 30
    """Seconds that requests under way are given to finish when the service is told to stop."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log line to write; info has one for each request."""

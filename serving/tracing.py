"""Spans for OpenTelemetry: those of requests come from FastAPI, those of the stages from here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio.to_thread
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

_SERVICE = "matinee"
_TRACER = trace.get_tracer(_SERVICE)


def tracing(endpoint: str | None) -> TelemetryConfig:
    """Return FastAPI's setting: the spans of this process go to a collector, or nowhere.

    Args:
      endpoint: The collector's address, http://host:4318; None for none.

    Raises:
      ValueError: What it needs is not installed.
    """
    config = TelemetryConfig(
        auto_configure=False, metrics=False, logs=False, operation_spans=False, tracing=endpoint is not None
    )
    if endpoint is None:
        return config
    try:
        from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise ValueError('traces need OpenTelemetry: pip install "matinee[traces]"') from None
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: _SERVICE}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    config["tracer_provider"] = provider
    return config


async def flushed(config: TelemetryConfig) -> None:
    """Send what is left."""
    provider: Any = config.get("tracer_provider")
    if provider is not None:
        await anyio.to_thread.run_sync(provider.shutdown)


@contextmanager
def span(stage: str, requests: int) -> Iterator[None]:
    """Note a stage below the request that has begun it; those that are answered with it are counted."""
    if not trace.get_current_span().is_recording():
        yield
        return
    with _TRACER.start_as_current_span(stage, attributes={"matinee.requests": requests}):
        yield

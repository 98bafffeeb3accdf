"""What runs in a process that serves: the log's format, and the server."""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import Any

import structlog
import threadpoolctl
import uvicorn
from starlette.types import ASGIApp

from serving.config import ServiceConfig
from serving.http_protocol import BoundedHttpProtocol

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many threads a product of matrices takes."""


def run_server(app: ASGIApp, service: ServiceConfig, listener: socket.socket | None = None) -> None:
    """Answer requests until SIGINT or SIGTERM, to a socket that is there or to a new one.

    Raises:
      RuntimeError: The server did not start; the log says why.
    """
    if not any(name in os.environ for name in BLAS_THREADS):
        # Its threads wait for each other by spinning: of matrices as small as these, on cores that others use as well,
        # that took four fifths of the time.
        threadpoolctl.threadpool_limits(1, "blas")
    config = uvicorn.Config(
        app,
        host=service.host,
        port=service.port,
        http=BoundedHttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=service.shutdown_s,
    )
    server = uvicorn.Server(config)
    server.run(None if listener is None else [listener])
    if not server.started:
        raise RuntimeError(f"cannot serve on {service.host}:{service.port}; the log above says why")


def configure_logs(level: str) -> None:
    """Write log lines, uvicorn's as well, to standard error: for people on a terminal, else one JSON object each."""
    render: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper("iso"),
        structlog.processors.format_exc_info,
    ]
    # The service's own lines do not go through the standard library's: one for every request, at a third of the time.
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # httpx tells of every request at this level; the service has its own line for each.
    logging.getLogger("httpx").setLevel("WARNING")
    logging.getLogger("alembic").setLevel("WARNING")

"""The service as a process: log format, signals, and the server."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any

import structlog
import uvicorn

from serving.app import create_app
from serving.config import ServiceConfig, TowerConfig
from serving.http_protocol import BoundedHttpProtocol


def serve(serving_dir: str, service: ServiceConfig, tower: TowerConfig) -> None:
    """Serve until SIGINT or SIGTERM; requests under way then have `shutdown_s` to finish.

    Args:
      serving_dir: Path or URI of the served versions.
      service: Configuration of the service.
      tower: Where the user tower is.

    Raises:
      ValueError: A setting cannot be used.
      RuntimeError: The server did not start, for example because the port is taken; the log says why.
    """
    configure_logs(service.log_level)
    _check_free(service.host, service.port)  # Before anything is loaded.
    config = uvicorn.Config(
        create_app(serving_dir, service, tower),
        host=service.host,
        port=service.port,
        http=BoundedHttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=service.shutdown_s,
    )
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        raise RuntimeError(f"cannot serve on {service.host}:{service.port}; the log above says why")


def _check_free(host: str, port: int) -> None:
    """Raise RuntimeError unless the address can be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise RuntimeError(f"cannot serve on {host}:{port}: {error.strerror}; pass another --port or --host") from None


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

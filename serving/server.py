"""The service, in this process or in several."""

from __future__ import annotations

import socket

from serving.config import ServiceConfig, TowerConfig
from serving.process import configure_logs, run_server


def serve(serving_dir: str, service: ServiceConfig, tower: TowerConfig) -> None:
    """Serve until SIGINT or SIGTERM; requests under way then have `shutdown_s` to finish.

    Args:
      serving_dir: Path or URI of the served versions.
      service: Configuration of the service.
      tower: Where the user tower is.

    Raises:
      ValueError: A setting cannot be used.
      EventStoreError: The database of events cannot be used.
      RuntimeError: The server did not start, for example because the port is taken; the log says why.
    """
    configure_logs(service.log_level)
    if service.events:
        from serving.events.service import opened

        events = opened(service.events)
        events.upgrade()  # Once, before workers write to it.
        events.close()
    with _bound(service.host, service.port) as listener:  # Before anything is loaded.
        if service.workers > 1:
            from serving.supervisor import supervise

            supervise(serving_dir, service, tower, listener)
            return
    from serving.app import create_app

    run_server(create_app(serving_dir, service, tower), service)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address and does not listen yet.

    Raises:
      RuntimeError: It cannot be had.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        return listener
    except OSError as error:
        listener.close()
        raise RuntimeError(f"cannot serve on {host}:{port}: {error.strerror}; pass another --port or --host") from None

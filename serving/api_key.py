"""The API key: a file that may be replaced while the service runs, and a limit on wrong keys."""

from __future__ import annotations

import math
import os
import pathlib
import secrets
import time

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api_models import problem

HEADER = "X-API-Key"
PROTECTED = "/v1/"
_WRONG_KEYS = RateLimitItemPerMinute(20)
_LOG = structlog.get_logger()


class ApiKey:
    """The key in a file."""

    def __init__(self, path: str) -> None:
        """Read the key.

        Raises:
          ValueError: The file cannot be read, is empty, or holds more than one line of ASCII.
        """
        self._path = path
        self._seen = _signature(path)
        self._key = _read(path)

    def is_key(self, given: str) -> bool:
        """Whether this is the key that the file holds now; while a replaced file holds none, the key before."""
        seen = _signature(self._path)
        if seen != self._seen:
            self._seen = seen
            try:
                self._key = _read(self._path)
            except ValueError as error:
                _LOG.error("API key not replaced", reason=str(error))
            else:
                _LOG.info("API key read again")
        return secrets.compare_digest(given.encode(), self._key)


def _signature(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: str) -> bytes:
    try:
        key = pathlib.Path(path).read_bytes().strip()
    except OSError as error:
        raise ValueError(f"cannot read the API key: {error}") from None
    if not key:
        raise ValueError(f"the API key file {path} is empty")
    if any(not ord(" ") <= byte <= ord("~") for byte in key):
        # No client could send it in a header.
        raise ValueError(f"the API key file {path} has several lines or more than ASCII; write one key on one line")
    return key


class KeyRequired:
    """ASGI middleware: a request to /v1 without the key is answered before anything of its body is read."""

    def __init__(self, app: ASGIApp, key: ApiKey) -> None:
        """Surround an application."""
        self._app, self._key = app, key
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http" or not scope["path"].startswith(PROTECTED):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        if self._key.is_key(given):
            # Whatever others behind the same address have sent: nobody can lock a right key out.
            await self._app(scope, receive, send)
            return
        client = scope["client"][0] if scope.get("client") else ""
        if given and not self._limiter.hit(_WRONG_KEYS, client):
            seconds = self._limiter.get_window_stats(_WRONG_KEYS, client).reset_time - time.time()
            headers = {"Retry-After": str(max(1, math.ceil(seconds)))}
            answer = problem(scope, 429, "too many wrong keys from this address; try again later", headers=headers)
        else:
            headers = {"WWW-Authenticate": "ApiKey"}
            answer = problem(scope, 401, f"pass the API key in the header {HEADER}", headers=headers)
        await answer(scope, receive, send)

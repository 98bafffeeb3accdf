"""What surrounds every request: an id, a log line, metrics, a bound on the body, and security headers."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api_models import problem
from serving.metrics import Metrics

REQUEST_ID_HEADER = "X-Request-ID"
_LOG = structlog.get_logger()
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Observed:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body_bytes: int) -> None:
        """Surround an application."""
        self._app, self._metrics, self._max_body_bytes = app, metrics, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # Answered as GET is; the server leaves the body out, by its own copy of the scope.
            scope = {**scope, "method": "GET"}
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        begin, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                answered[REQUEST_ID_HEADER] = request_id
                for name, value in _HEADERS.items():
                    answered.setdefault(name, value)
            await send(message)

        try:
            if wrong := _wrong_host(scope, headers):
                await problem(scope, 400, wrong)(scope, receive, answer)
            else:
                await self._app(scope, _bounded(receive, headers, self._max_body_bytes), answer)
        finally:
            seconds = time.perf_counter() - begin
            # A path that no route knows is not a label: anybody could make up as many as they like.
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.latency.labels(method, route).observe(seconds)
            _LOG.info(
                "request",
                request_id=request_id,
                method=method,
                route=route,
                status=status,
                ms=round(seconds * 1000, 2),
            )


def _wrong_host(scope: Scope, headers: Headers) -> str:
    """Say what is wrong with the Host header (RFC 9112, 3.2)."""
    hosts = len(headers.getlist("host"))
    if hosts > 1:
        return f"the request has {hosts} Host headers; send one"
    if not hosts and scope["http_version"] == "1.1":
        return "the request has no Host header, which HTTP/1.1 needs"
    return ""


def _bounded(receive: Receive, headers: Headers, most: int) -> Receive:
    """Stop reading a body that is longer than allowed, whether or not its length was declared."""
    read = 0
    declared = headers.get("content-length", "")

    async def bounded() -> Message:
        nonlocal read
        if declared.isdigit() and int(declared) > most:
            raise too_large(most)
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > most:
                raise too_large(most)
        return message

    return bounded


def too_large(most: int) -> HTTPException:
    """Return the error of a body that is longer than allowed."""
    return HTTPException(413, f"the body is longer than {most:,} bytes")

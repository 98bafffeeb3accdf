"""uvicorn's HTTP/1.1 with a bound on what a request's head may take, which httptools lacks, and fewer system calls."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 128
_STATUS = 431


class _HeadTooLargeError(Exception):
    """Ends the parsing: the parser's own error follows."""


class JoinedWrites:
    """A transport that sends what is written in one turn of the event loop by one system call, a head and its body."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Surround a transport; all else of it is its own."""
        self._transport, self._waiting = transport, list[bytes]()
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send at the end of this turn."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)

    def close(self) -> None:
        """Send what waits, and close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and not self._transport.is_closing():  # The client may have gone meanwhile.
            self._transport.writelines(waiting)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 431 to a request line and headers of more than 64 KiB or 128 headers, and closes the connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received = 0
        """Bytes since the last ones that belonged to a body, or ended a head: what the parser holds on to."""
        self._head_bytes = 0
        self._too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a connection."""
        super().connection_made(JoinedWrites(transport))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self._received += len(data)
        super().data_received(data)
        if self._received > MAX_HEAD_BYTES and not self._too_large:
            self._too_large = True
            self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, and close the connection."""
        if not self._too_large:
            super().send_400_response(msg)
        elif not self.transport.is_closing():
            text = f"the request line and headers are longer than {MAX_HEAD_BYTES:,} bytes or {MAX_HEADERS} headers"
            head = (
                f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[_STATUS] + (head + text).encode("ascii"))
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer behind the body."""
        self._count(name, value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start to answer."""
        self._received = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, whose length the service bounds itself."""
        self._received = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._received = 0
        super().on_message_complete()

    def _count(self, *parts: bytes) -> None:
        self._head_bytes += sum(map(len, parts))
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            self._too_large = True
            raise _HeadTooLargeError

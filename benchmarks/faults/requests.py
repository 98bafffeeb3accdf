"""Requests as no ordinary client sends them, and the statuses that answer them."""

from __future__ import annotations

import re
import socket

from serving.http_protocol import MAX_HEAD_BYTES

GET = b"GET /healthz HTTP/1.1\r\n"
HOST = b"Host: here\r\n"
END = b"\r\n"


def exchange(port: int, data: bytes, parts: int = 1, timeout_s: float = 10) -> bytes:
    """Send bytes, in parts; return what comes back until the other side closes or falls silent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        size = -(-len(data) // parts)
        try:
            for begin in range(0, len(data), size):
                connection.sendall(data[begin : begin + size])
        except (BrokenPipeError, ConnectionResetError):
            pass  # Closed before everything was sent, with an answer or without.
        connection.settimeout(2)
        try:
            while block := connection.recv(65_536):
                answer += block
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


def statuses(answer: bytes) -> list[int]:
    """Return the statuses of the answers in what came back."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def is_right(found: list[int], expected: str) -> bool:
    """Whether the statuses are those of `RAW`."""
    if not found and expected == "431":
        return True  # Reset while it was still sent: the answer may be lost, the bytes are not taken in.
    return " ".join(map(str, found)) in expected.split("|")


def _line(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([line, b"Host: here", b"Connection: close", *headers]) + b"\r\n\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    """Return a request for recommendations with a body."""
    lines = [b"POST /v1/recommendations HTTP/1.1", b"Host: here", b"Content-Type: application/json", *headers]
    lines += [b"Content-Length: %d" % len(body), b"Connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


_LONG = b"x" * MAX_HEAD_BYTES
RAW: dict[str, tuple[bytes, str]] = {
    "an ordinary request": (GET + HOST + b"Connection: close\r\n" + END, "200"),
    "no Host": (GET + b"Connection: close\r\n" + END, "400"),
    "two Hosts": (GET + HOST + b"Host: there\r\nConnection: close\r\n" + END, "400"),
    "the same Host twice": (GET + HOST + HOST + b"Connection: close\r\n" + END, "400"),
    "HTTP/1.0 without Host": (b"GET /healthz HTTP/1.0\r\n\r\n", "200"),
    "a long header": (GET + HOST + b"X: " + _LONG + END + END, "431"),
    "a header without an end": (GET + HOST + b"X: " + _LONG * 8, "431"),
    "a long name of a header": (GET + HOST + _LONG + b": x" + END + END, "431"),
    "many headers": (GET + HOST + b"".join(b"X-%d: y\r\n" % i for i in range(200)) + END, "431"),
    "very many headers": (GET + HOST + b"X: y\r\n" * 200_000 + END, "431"),
    "a long path": (b"GET /" + _LONG + b" HTTP/1.1\r\n" + HOST + END, "431"),
    "a path without an end": (b"GET /" + _LONG * 4, "431"),
    "a long trailer": (
        b"POST /v1/recommendations HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: " + _LONG + b"\r\n\r\n",
        "431",
    ),
    "many spaces": (GET + HOST + b"X:" + b" " * 4 * MAX_HEAD_BYTES + b"y\r\n\r\n", "431"),
    "nonsense": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, "400"),
    "two requests at once": ((GET + HOST + END) + (GET + HOST + b"Connection: close\r\n" + END), "200 200"),
    "two lengths": (GET + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n" + END + b"ab", "400"),
    "a length and chunks": (
        GET + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n" + END + b"0\r\n\r\n",
        "400",
    ),
    "a space before the colon": (GET + b"Host : here\r\n" + END, "400"),
    "a line that goes on": (GET + HOST + b"X: a\r\n b\r\nConnection: close\r\n" + END, "200|400"),
    "a deep body": (post(b"[" * 100_000), "400"),
    "a long number": (post(b'{"n": ' + b"9" * 100_000 + b"}"), "400"),
    "no UTF-8": (post(b'{"n": "\xff"}'), "400"),
    "an infinite number": (post(b'{"diversity": 1e999}'), "422"),
    "not a number": (post(b'{"diversity": NaN}'), "422"),
    "a name twice": (post(b'{"n": 3, "n": 4}'), "200"),
    "half a surrogate": (post(b'{"genres": ["\\ud800"]}'), "422"),
    "a method that a route lacks": (_line(b"DELETE /v1/model HTTP/1.1"), "405"),
    "TRACE": (_line(b"TRACE /healthz HTTP/1.1"), "405"),
    "CONNECT": (_line(b"CONNECT here:80 HTTP/1.1"), "400|404|405"),
    "a method that nobody knows": (_line(b"FETCH /healthz HTTP/1.1"), "400"),
    "a method in lower case": (_line(b"get /healthz HTTP/1.1"), "400"),
    "HTTP/2 without asking": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", "200|400"),
    "HTTP/9.9": (_line(b"GET /healthz HTTP/9.9"), "400"),
    "a whole address": (_line(b"GET http://evil.example/healthz HTTP/1.1"), "200|400|404"),
    "any address": (_line(b"OPTIONS * HTTP/1.1"), "400|404|405"),
    "out of the page's folder": (_line(b"GET /../../../../etc/hostname HTTP/1.1"), "404"),
    "out of the page's folder, coded": (_line(b"GET /%2e%2e%2f%2e%2e%2fapp.py HTTP/1.1"), "404"),
    "a zero in the path": (_line(b"GET /index.html%00 HTTP/1.1"), "404"),
    "a path that is no UTF-8": (_line(b"GET /%ff%fe HTTP/1.1"), "404"),
    "a zero in a header": (_line(b"GET /healthz HTTP/1.1", b"X: a\x00b"), "400"),
    "a length below 0": (_line(b"POST /v1/recommendations HTTP/1.1", b"Content-Length: -1"), "400"),
    "a length above 64 bits": (_line(b"POST /v1/recommendations HTTP/1.1", b"Content-Length: " + b"9" * 30), "400"),
    "a chunk above 64 bits": (
        _line(b"POST /v1/recommendations HTTP/1.1", b"Content-Type: application/json", b"Transfer-Encoding: chunked")
        + b"f" * 20
        + b"\r\n",
        "400",
    ),
    "a coding that nobody knows": (
        _line(b"POST /v1/recommendations HTTP/1.1", b"Transfer-Encoding: chunked, gzip"),
        "400",
    ),
    "a change to WebSocket": (
        _line(
            b"GET /healthz HTTP/1.1",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
        "200|400|403|426",
    ),
    "a number above 64 bits in a path": (_line(b"GET /v1/movies/99999999999999999999 HTTP/1.1"), "404"),
    "a long number in a path": (_line(b"GET /v1/movies/" + b"9" * 5_000 + b" HTTP/1.1"), "422"),
}
"""Name -> what is sent, and the statuses of the answers; `|` stands between those that are equally right."""

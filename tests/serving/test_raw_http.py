"""Bytes as no ordinary client sends them: each is answered with the right status, and the service goes on."""

import json
import re
import socket
import time

import pytest

from serving.http_protocol import MAX_HEAD_BYTES
from tests.serving.harness import serving

GET = b"GET /healthz HTTP/1.1\r\n"
HOST = b"Host: here\r\n"
END = b"\r\n"


def exchange(service, data, parts=1, timeout_s=10):
    """Send bytes, in parts; return what comes back until the other side closes or falls silent."""
    port, answer = service.client.base_url.port, b""
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


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def post(body, *headers):
    lines = [b"POST /v1/recommendations HTTP/1.1", b"Host: here", b"Content-Type: application/json", *headers]
    lines += [b"Content-Length: %d" % len(body), b"Connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


LONG = b"x" * MAX_HEAD_BYTES
RAW = {
    "an ordinary request": (GET + HOST + b"Connection: close\r\n" + END, [200]),
    "no Host": (GET + b"Connection: close\r\n" + END, [400]),
    "two Hosts": (GET + HOST + b"Host: there\r\nConnection: close\r\n" + END, [400]),
    "the same Host twice": (GET + HOST + HOST + b"Connection: close\r\n" + END, [400]),
    "HTTP/1.0 without Host": (b"GET /healthz HTTP/1.0\r\n\r\n", [200]),
    "a long header": (GET + HOST + b"X: " + LONG + END + END, [431]),
    "a header without an end": (GET + HOST + b"X: " + LONG * 8, [431]),
    "a long name of a header": (GET + HOST + LONG + b": x" + END + END, [431]),
    "many headers": (GET + HOST + b"".join(b"X-%d: y\r\n" % i for i in range(200)) + END, [431]),
    "very many headers": (GET + HOST + b"X: y\r\n" * 200_000 + END, [431]),
    "a long path": (b"GET /" + LONG + b" HTTP/1.1\r\n" + HOST + END, [431]),
    "a path without an end": (b"GET /" + LONG * 4, [431]),
    "a long trailer": (
        b"POST /v1/recommendations HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: " + LONG + b"\r\n\r\n",
        [431],
    ),
    "many spaces": (GET + HOST + b"X:" + b" " * 4 * MAX_HEAD_BYTES + b"y\r\n\r\n", [431]),
    "nonsense": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, [400]),
    "two requests at once": ((GET + HOST + END) + (GET + HOST + b"Connection: close\r\n" + END), [200, 200]),
    "two lengths": (GET + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n" + END + b"ab", [400]),
    "a length and chunks": (
        GET + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n" + END + b"0\r\n\r\n",
        [400],
    ),
    "a space before the colon": (GET + b"Host : here\r\n" + END, [400]),
    "a line that goes on": (GET + HOST + b"X: a\r\n b\r\nConnection: close\r\n" + END, [200, 400]),
    "a deep body": (post(b"[" * 100_000), [400]),
    "a long number": (post(b'{"n": ' + b"9" * 100_000 + b"}"), [400]),
    "no UTF-8": (post(b'{"n": "\xff"}'), [400]),
    "an infinite number": (post(b'{"diversity": 1e999}'), [422]),
    "not a number": (post(b'{"diversity": NaN}'), [422]),
    "a name twice": (post(b'{"n": 3, "n": 4}'), [200]),
    "half a surrogate": (post(b'{"genres": ["\\ud800"]}'), [422]),
}


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("parts", [1, 50])
def test_raw_requests(service, name, parts):
    data, expected = RAW[name]
    found = statuses(exchange(service, data, parts))
    if name == "a line that goes on":
        assert found[0] in expected
    elif expected == [431] and not found:
        pass  # Reset while it still sent: the answer may be lost, the bytes are not taken in.
    else:
        assert found == expected
    assert service.get("/healthz").status_code == 200


def test_a_header_is_taken_in_up_to_its_bound(service):
    longest = b"x" * (MAX_HEAD_BYTES - 200)
    assert statuses(exchange(service, GET + HOST + b"Connection: close\r\nX: " + longest + END + END)) == [200]


@pytest.mark.parametrize(
    "body",
    [
        {f"field{i}": 0 for i in range(60_000)},
        {"ratings": [{"a": i} for i in range(60_000)]},
        {"ratings": [{f"b{i}": 0 for i in range(60_000)}]},
        {"exclude_movie_ids": ["x"] * 100_000},
        {"genres": ["Horse"] * 90_000},
        {"x" * 900_000: 1},
    ],
    ids=["fields", "ratings", "fields of a rating", "ids", "genres", "a long name"],
)
def test_a_body_of_many_mistakes_is_answered_soon_and_in_few_words(service, body):
    content = json.dumps(body, separators=(",", ":")).encode()
    assert len(content) < 1 << 20
    begin = time.perf_counter()
    answer = service.client.post("/v1/recommendations", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert len(answer.content) < 10_000
    assert 1 <= len(answer.json()["errors"]) <= 20
    assert time.perf_counter() - begin < 1


def test_the_key_is_looked_at_before_the_body(published, tmp_path):
    """Nothing of a body is waited for: only its length is known when the answer comes."""
    (tmp_path / "key").write_text("s3cret")
    with serving(published, api_key_file=str(tmp_path / "key")) as service:
        head = b"POST /v1/recommendations HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        waiting = head + b"Content-Length: 1000000\r\n\r\n{"
        assert statuses(exchange(service, waiting)) == [401]
        nonsense = head + b"Content-Length: 1\r\nConnection: close\r\n\r\n{"
        assert statuses(exchange(service, nonsense)) == [401]
        assert statuses(exchange(service, nonsense.replace(b"\r\n\r\n", b"\r\nX-API-Key: s3cret\r\n\r\n"))) == [422]


@pytest.mark.parametrize(
    "path", ["/v1/model", "/v1/../v1/model", "/v1%2fmodel", "/%76%31/model", "/v1/nowhere", "/v1/"]
)
def test_no_way_around_the_key(published, tmp_path, path):
    (tmp_path / "key").write_text("s3cret")
    with serving(published, api_key_file=str(tmp_path / "key")) as service:
        answer = exchange(service, b"GET " + path.encode() + b" HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert statuses(answer) == [401]
        for other in ("//v1/model", "/V1/model", "/./v1/model", "/v1"):
            raw = b"GET " + other.encode() + b" HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
            assert statuses(exchange(service, raw))[0] in (401, 404)

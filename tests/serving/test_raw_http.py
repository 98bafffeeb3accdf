"""Bytes as no ordinary client sends them: each is answered with the right status, and the service goes on."""

import asyncio
import json
import time
from unittest import mock

import pytest

from benchmarks.faults.requests import END, GET, HOST, RAW, exchange, is_right, statuses
from serving.http_protocol import MAX_HEAD_BYTES, JoinedWrites
from tests.serving.harness import serving


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("parts", [1, 50])
def test_raw_requests(service, name, parts):
    data, expected = RAW[name]
    assert is_right(statuses(exchange(service.client.base_url.port, data, parts)), expected)
    assert service.get("/healthz").status_code == 200


def test_a_header_is_taken_in_up_to_its_bound(service):
    longest = b"x" * (MAX_HEAD_BYTES - 200)
    assert statuses(
        exchange(service.client.base_url.port, GET + HOST + b"Connection: close\r\nX: " + longest + END + END)
    ) == [200]


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
    begin = time.process_time()  # The service is a thread of this process.
    answer = service.client.post("/v1/recommendations", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert len(answer.content) < 10_000
    assert 1 <= len(answer.json()["errors"]) <= 20
    assert time.process_time() - begin < 1


def test_the_key_is_looked_at_before_the_body(published, tmp_path):
    """Nothing of a body is waited for: only its length is known when the answer comes."""
    (tmp_path / "key").write_text("s3cret")
    with serving(published, api_key_file=str(tmp_path / "key")) as service:
        head = b"POST /v1/recommendations HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        waiting = head + b"Content-Length: 1000000\r\n\r\n{"
        assert statuses(exchange(service.client.base_url.port, waiting)) == [401]
        nonsense = head + b"Content-Length: 1\r\nConnection: close\r\n\r\n{"
        assert statuses(exchange(service.client.base_url.port, nonsense)) == [401]
        assert statuses(
            exchange(service.client.base_url.port, nonsense.replace(b"\r\n\r\n", b"\r\nX-API-Key: s3cret\r\n\r\n"))
        ) == [422]


@pytest.mark.parametrize(
    "path", ["/v1/model", "/v1/../v1/model", "/v1%2fmodel", "/%76%31/model", "/v1/nowhere", "/v1/"]
)
def test_no_way_around_the_key(published, tmp_path, path):
    (tmp_path / "key").write_text("s3cret")
    with serving(published, api_key_file=str(tmp_path / "key")) as service:
        answer = exchange(
            service.client.base_url.port,
            b"GET " + path.encode() + b" HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n",
        )
        assert statuses(answer) == [401]
        for other in ("//v1/model", "/V1/model", "/./v1/model", "/v1"):
            raw = b"GET " + other.encode() + b" HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
            assert statuses(exchange(service.client.base_url.port, raw))[0] in (401, 404)


def test_what_is_written_in_one_turn_is_sent_at_once():
    transport = mock.Mock(asyncio.Transport)
    transport.is_closing.return_value = False

    async def write():
        joined = JoinedWrites(transport)
        joined.write(b"head")
        joined.write(b"body")
        await asyncio.sleep(0)
        joined.write(b"last")
        joined.close()
        transport.is_closing.return_value = True
        joined.write(b"to nobody")
        await asyncio.sleep(0)

    asyncio.run(write())
    sent = [call for call in transport.mock_calls if call != mock.call.is_closing()]
    assert sent == [mock.call.writelines([b"head", b"body"]), mock.call.writelines([b"last"]), mock.call.close()]

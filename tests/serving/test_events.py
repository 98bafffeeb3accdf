"""What users do: kept durably, once, and counted in their next list."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import httpx
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from schemas.data_spec import RatingsSpec, named
from serving import Recommender
from serving.events.errors import EventStoreError
from serving.events.export import export
from serving.events.model import Event
from serving.events.store import EVENTS as EVENT_TABLE
from serving.events.store import EventStore, url_of
from tests import postgres
from tests.serving.harness import serving, workers
from tests.workspace import ROOT

EVENTS, CLIENTS = 20_000, 8


@pytest.fixture(scope="session")
def postgres_url():
    if postgres.binaries() is None:
        pytest.skip("no PostgreSQL under /usr/lib/postgresql")
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """A database without anything in it."""
    if request.param == "sqlite":
        return str(tmp_path / "events.db")
    url = request.getfixturevalue("postgres_url")
    name = f"events_{uuid.uuid4().hex}"
    engine = sa.create_engine(url_of(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.replace("/postgres", f"/{name}")


@pytest.fixture
def store(where):
    store = EventStore(where)
    store.upgrade()
    yield store
    store.close()


@pytest.fixture
def recommender(published):
    return Recommender.load(str(published))


def rating(key, movie="10", stars=4.5, user="1", at_s=5):
    return Event(key, user, "rating", at_s, movie, stars)


def test_what_is_sent_again_is_not_counted_again(store):
    assert store.add([rating("a"), rating("a", "11"), rating("b", "12")]) == [True, False, True]
    assert store.add([rating("b", "13"), rating("c", "14"), rating("a", user="2")]) == [False, True, True]
    assert [*store.of_user("1").ratings] == ["10", "12", "14"]
    assert store.of_user("2").ratings == {"10": 4.5}
    assert store.of_user("3") is None
    store.upgrade()
    assert len([*store.all()]) == 4


def test_services_that_start_together_make_one_database(where):
    code = "import sys; from serving.events.store import EventStore; EventStore(sys.argv[1]).upgrade()"
    services = [subprocess.Popen([sys.executable, "-c", code, where], cwd=ROOT) for _ in range(4)]
    assert [service.wait(timeout=60) for service in services] == [0] * 4
    store = EventStore(where)
    assert store.add([rating("a")]) == [True]
    assert store.of_user("1").ratings == {"10": 4.5}
    store.close()


def test_the_migrations_make_the_table_that_the_code_has(store, where):
    engine = sa.create_engine(url_of(where))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), EVENT_TABLE.metadata) == []
    engine.dispose()


def test_a_list_does_not_get_slower_by_what_was_shown(store):
    shown = [Event(f"i{number}", "1", "impression", 5, str(number)) for number in range(20_000)]
    store.add([rating("a"), rating("a", user="2")])
    for begin in range(0, len(shown), 1000):
        store.add(shown[begin : begin + 1000])

    def seconds(user):
        begin = time.perf_counter()
        store.of_user(user)
        return time.perf_counter() - begin

    many, few = (min(seconds(user) for _ in range(50)) for user in "12")
    assert many < 4 * few, "15 times, where every event of the user is looked at"


def test_the_latest_event_counts_whatever_the_clock_says(store):
    store.add([rating("a", stars=5, at_s=100), rating("b", "11"), rating("c", stars=1, at_s=3)])
    store.add([Event("d", "1", "withdrawn", 4, "11"), Event("e", "1", "seen", 4, "12")])
    store.add([Event("f", "1", "not_for_me", 4, "13"), Event("g", "1", "click", 4, "14")])
    changes = store.of_user("1")
    assert changes.ratings == {"10": 1, "11": None}
    assert changes.hidden == ("12", "13")


def test_who_is_forgotten_leaves_nothing(store):
    store.add([rating("a"), rating("b", user="2")])
    store.add([Event("f", "1", "forget", 9), rating("c", "11", at_s=10)])
    assert store.of_user("1").ratings == {"11": 4.5}
    assert store.of_user("1").forgotten_at_s == 9
    assert [event.key for _, event in store.all()] == ["b", "f", "c"]
    assert store.add([rating("d", "12")]) == [True]
    assert store.of_user("2").ratings == {"10": 4.5}


def test_a_database_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(EventStoreError, match=r"none/events\.db cannot be used: unable to open database file"):
        EventStore(str(tmp_path / "none" / "events.db")).upgrade()
    with pytest.raises(ValueError, match="mysql is not supported"):
        EventStore("mysql://root@localhost/x")
    (tmp_path / "other.db").write_text("no database, but a text that is longer than a header of one would be" * 20)
    with pytest.raises(EventStoreError, match="not a database"):
        EventStore(str(tmp_path / "other.db")).upgrade()


def listed(service, user, **query):
    answer = service.get(f"/v1/users/{user}/recommendations", params={"n": 100, **query}).json()
    return [movie["movie_id"] for movie in answer["recommendations"]]


def put(service, user, movie, stars, **headers):
    path = f"/v1/users/{user}/ratings/{movie}"
    return service.client.put(path, json={"rating": stars}, headers=headers)


def test_a_rating_counts_in_the_next_list(root, store, where, recommender):
    with serving(root, events=where) as service:
        before = listed(service, 1)
        movie = before[0]
        assert put(service, 1, movie, 5).json()["kept"] == 1
        after = listed(service, 1)
        assert movie not in after
        assert after[:50] != before[1:51], "it is not only hidden"
        history = service.get("/v1/users/1/ratings", params={"order": "latest"}).json()["ratings"]
        assert (history[0]["movie_id"], history[0]["rating"]) == (movie, 5)
        rated = recommender.history(1)
        same = [(row["movie_id"], row["rating"]) for row in rated.iter_rows(named=True)]
        whole = {"ratings": [{"movie_id": m, "rating": r} for m, r in [*same, (movie, 5)]], "n": 100}
        expected = service.post("/v1/recommendations", whole).json()["recommendations"]
        assert after == [movie["movie_id"] for movie in expected], "as a new user with these ratings"
        assert service.client.delete(f"/v1/users/1/ratings/{movie}").json()["kept"] == 1
        assert listed(service, 1) == before, "as if nothing had been"
        own = int(rated["movie_id"][0])
        service.client.delete(f"/v1/users/1/ratings/{own}")
        assert own not in [row["movie_id"] for row in service.get("/v1/users/1/ratings").json()["ratings"]]


def test_an_unknown_user_is_answered_from_events(root, store, where, recommender):
    movies = [int(movie) for movie in recommender.movies["movie_id"][:4]]
    with serving(root, events=where) as service:
        assert service.get("/v1/users/987654/recommendations").status_code == 404
        for movie in movies:
            assert put(service, 987654, movie, 4.5).status_code == 200
        body = {"ratings": [{"movie_id": movie, "rating": 4.5} for movie in movies], "n": 100}
        expected = service.post("/v1/recommendations", body).json()["recommendations"]
        assert listed(service, 987654) == [movie["movie_id"] for movie in expected]
        assert listed(service, "00987654") == listed(service, 987654), "one user, however written"
        assert service.client.delete("/v1/users/987654").status_code == 204
        assert service.get("/v1/users/987654/recommendations").status_code == 404
        assert service.client.delete("/v1/users/1").status_code == 204
        assert service.get("/v1/users/1/recommendations").status_code == 404
        batch = service.post("/v1/recommendations:batch", {"requests": [{"user_id": "1"}, {"user_id": "2"}]}).json()
        assert "forgotten" in batch["answers"][0]["error"]
        assert batch["answers"][1]["error"] is None


def test_other_events(root, store, where, recommender):
    with serving(root, events=where) as service:
        first, second, *_ = listed(service, 1)
        events = [
            {"key": "1", "user_id": "1", "kind": "seen", "movie_id": first},
            {"key": "2", "user_id": "1", "kind": "not_for_me", "movie_id": second},
            {"key": "3", "user_id": "1", "kind": "impression", "movie_id": first, "model_version": 7},
            {"key": "3", "user_id": "1", "kind": "click", "movie_id": first},
        ]
        answer = service.post("/v1/events", {"events": events}).json()
        assert (answer["kept"], answer["repeated"]) == (3, 1)
        assert not {first, second} & set(listed(service, 1))
        versions = {event.key: event.model_version for _, event in store.all()}
        assert versions == {"1": answer["model_version"], "2": answer["model_version"], "3": 7}
        for wrong, field in (
            ({"kind": "rating"}, "body.events.0.rating"),
            ({"rating": 3}, "body.events.0.rating"),
            ({"kind": "rating", "rating": 9}, "body.events.0.rating"),
            ({"kind": "withdrawn"}, "body.events.0.kind"),
            ({"key": ""}, "body.events.0.key"),
        ):
            answer = service.post("/v1/events", {"events": [{**events[0], "key": "9", **wrong}]})
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
        unknown = service.post("/v1/events", {"events": [{**events[0], "key": "9", "movie_id": 10**9}]})
        assert unknown.status_code == 404
        assert len([*store.all()]) == 3


def test_a_key_makes_a_rating_count_once(root, store, where):
    with serving(root, events=where) as service:
        first = listed(service, 1)[0]
        assert put(service, 1, first, 5, **{"Idempotency-Key": "k"}).json()["kept"] == 1
        assert (
            put(service, 1, first, 1, **{"Idempotency-Key": "k"}).json() | {"kept": 0, "repeated": 1}
            == put(service, 1, first, 1, **{"Idempotency-Key": "k"}).json()
        )
        assert service.get("/v1/users/1/ratings", params={"order": "latest"}).json()["ratings"][0]["rating"] == 5


def test_without_events_there_are_no_routes_for_them(service):
    assert service.client.put("/v1/users/1/ratings/1", json={"rating": 5}).status_code in (404, 405)
    assert service.post("/v1/events", {"events": []}).status_code in (404, 405)
    assert not [path for path in service.get("/openapi.json").json()["paths"] if "events" in path]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_loses_nothing_that_was_acknowledged(root, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    assert os.system(f"mount -t tmpfs -o size=1m tmpfs {disk}") == 0
    try:
        store = EventStore(str(disk / "events.db"))
        store.upgrade()
        kept = []
        with serving(root, events=str(disk / "events.db")) as service:
            movie = listed(service, 1)[0]
            for i in range(3000):
                events = [
                    {"key": f"{i}-{k}" + "x" * 150, "user_id": "1", "kind": "click", "movie_id": movie}
                    for k in range(20)
                ]
                answer = service.post("/v1/events", {"events": events})
                if answer.status_code != 200:
                    break
                kept += [event["key"] for event in events]
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert str(disk) not in answer.text
            assert service.get("/v1/users/2/recommendations").status_code == 200
        assert [event.key for _, event in store.all()] == kept
        store.close()
    finally:
        os.system(f"umount --lazy {disk}")


def _write(url, movie, number, acknowledged, stop):
    """Send events until all are acknowledged, each again where no answer came."""
    http = httpx.Client(base_url=url, timeout=30)
    for i in range(EVENTS // CLIENTS):
        event = {"key": f"{number}-{i}", "user_id": str(500_000 + number), "kind": "click", "movie_id": movie}
        while not stop.is_set():
            try:
                answer = http.post("/v1/events", json={"events": [event]})
            except httpx.TransportError:  # Its worker was killed: nobody knows whether the event was kept.
                http.close()
                http = httpx.Client(base_url=url, timeout=30)
                continue
            if answer.status_code == 200:
                acknowledged.append(event["key"])
                break
    http.close()


@pytest.mark.slow
def test_kills_lose_no_event_and_count_none_twice(root, where, tmp_path):
    with workers(root, tmp_path, "--events", where) as service:
        movie = service.get("/v1/users/1/recommendations").json()["recommendations"][0]["movie_id"]
        acknowledged, stop = [], threading.Event()
        clients = [
            threading.Thread(target=_write, args=(service.url, movie, number, acknowledged, stop))
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            for part in (4, 3, 2):
                service.wait_for(lambda part=part: len(acknowledged) >= EVENTS // part, timeout_s=180)
                for pid in service.pids()[: 1 if part > 2 else 2]:
                    os.kill(pid, signal.SIGKILL)
            for client in clients:
                client.join(timeout=240)
        finally:
            stop.set()
        store = EventStore(where)
        kept = [event.key for _, event in store.all()]
        store.close()
        assert sorted(kept) == sorted(set(acknowledged))
        assert len(kept) == EVENTS


@pytest.mark.slow
def test_every_worker_counts_a_rating_at_once(root, where, tmp_path):
    with workers(root, tmp_path, "--events", where) as service:
        # Connections go to one worker or the other.
        clients = [httpx.Client(base_url=service.url, timeout=30) for _ in range(12)]
        best = clients[0].get("/v1/users/1/recommendations").json()["recommendations"]
        for movie in [movie["movie_id"] for movie in best]:
            clients[0].put(f"/v1/users/1/ratings/{movie}", json={"rating": 4})
            for client in clients:
                found = client.get("/v1/users/1/recommendations").json()["recommendations"]
                assert movie not in [each["movie_id"] for each in found]
        for client in clients:
            client.close()


def read_span(directory):
    """Return the tables of a span as text."""
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_an_export_has_what_is_new_and_what_stands(store, tmp_path):
    spans = f"{tmp_path}/ratings/{{SPAN}}"
    assert export(store, spans, named()).directory is None
    store.add([rating("a", "10", 3), rating("b", "11", 4), Event("c", "1", "click", 6, "12")])
    store.add([rating("d", "10", 5, at_s=7), Event("e", "1", "withdrawn", 8, "11"), Event("f", "2", "forget", 9)])
    store.add([rating("g", "12", 2, user="2", at_s=9), Event("h", "1", "withdrawn", 9, "13")])
    store.add([rating("i", "13", 1.5, at_s=9)])
    found = export(store, spans, named())
    assert (found.ratings, found.withdrawn, found.forgotten) == (3, 1, 1)
    assert read_span(tmp_path / "ratings" / "1") == {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,10,5.0,7\n2,12,2.0,10\n1,13,1.5,9\n",
        "withdrawn.csv": "userId,movieId,timestamp\n2,,9\n1,11,8\n",
        "events.json": json.dumps({"until": max(number for number, _ in store.all())}),
    }
    assert export(store, spans, named()).directory is None
    store.add([rating("j", "14", 2)])
    assert export(store, spans, named()).directory == f"{tmp_path}/ratings/2"
    assert read_span(tmp_path / "ratings" / "2")["ratings.csv"].splitlines()[1:] == ["1,14,2.0,5"]
    assert not list((tmp_path / "ratings").glob(".*"))


def test_an_export_is_written_as_the_data_is(store, tmp_path):
    store.add([rating("a", at_s=1_500_000_000)])
    columns = {"files": "ratings", "separator": ";", "user": "who", "item": "what", "rating": "stars", "time": "when"}
    spec = dataclasses.replace(named(), ratings=RatingsSpec(**columns, time_format="%Y-%m-%d %H:%M:%S"))
    export(store, f"{tmp_path}/{{SPAN}}", spec)
    assert (tmp_path / "1/ratings.csv").read_text() == "who;what;stars;when\n1;10;4.5;2017-07-14 02:40:00\n"
    for wrong in (RatingsSpec(files="ratings", rating=None), RatingsSpec(files="ratings", header=("a", "b"))):
        with pytest.raises(ValueError, match="pass a --data-spec"):
            export(store, f"{tmp_path}/{{SPAN}}", dataclasses.replace(named(), ratings=wrong))
    with pytest.raises(ValueError, match=r"does not end in /\{SPAN\}"):
        export(store, str(tmp_path), named())

"""The routes: one success and the failures of each, over real sockets."""

import asyncio
import contextlib
import http.client
import threading
import time

import httpx
import pytest

from schemas import features as f
from serving import Recommender
from serving.store import ServingStore
from serving.user_tower import InProcessUserTowers
from tests.serving.harness import serving


@pytest.fixture(scope="module")
def recommender(published):
    return Recommender.load(str(published))


def problem(response, status, text):
    assert response.status_code == status, response.text
    body = response.json()
    assert text in body["detail"], body
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert "Traceback" not in response.text
    return body


def ids(answer):
    return [movie["movie_id"] for movie in answer["recommendations"]]


def test_a_known_user(service, recommender):
    user = int(recommender.user_ids[3])
    answer = service.get(f"/v1/users/{user}/recommendations")
    expected = recommender.recommend(user_id=user)
    assert ids(answer.json()) == [movie.movie_id for movie in expected]
    assert answer.json()["model_version"] == recommender.model_version
    assert answer.headers["X-Model-Version"] == str(recommender.model_version)
    first = answer.json()["recommendations"][0]
    assert first["title"] == expected[0].title
    assert first["predicted_rating"] == pytest.approx(expected[0].predicted_rating)
    assert first["because"] == {
        "movie_id": expected[0].because.movie_id,
        "title": expected[0].because.title,
        "rating": expected[0].because.rating,
    }
    assert len(ids(service.get(f"/v1/users/{user}/recommendations", params={"n": 3}).json())) == 3


@pytest.mark.parametrize("megabytes", [0, 16])
def test_the_same_list_is_made_once(published, recommender, megabytes):
    first, second = (f"/v1/users/{user}/recommendations" for user in recommender.user_ids[:2])
    with serving(published, kept_lists_mb=megabytes) as service:
        answers = {path: service.get(path).content for path in (first, f"{first}?n=3", second, f"{second}?n=3")}
        assert len(set(answers.values())) == 4
        assert "matinee_kept_lists_total 0.0" in service.get("/metrics").text
        for path, content in answers.items():
            again = service.get(path)
            assert again.content == content
            assert again.headers["X-Model-Version"] == str(recommender.model_version)
        assert f"matinee_kept_lists_total {4.0 if megabytes else 0.0}" in service.get("/metrics").text
        assert service.get(f"{first}?n=8&diversity=0&n=3").content == answers[f"{first}?n=3"]
        assert f"matinee_kept_lists_total {5.0 if megabytes else 0.0}" in service.get("/metrics").text


def test_filters_and_variety(service, recommender):
    user = int(recommender.user_ids[3])
    path = f"/v1/users/{user}/recommendations"
    drama = service.get(path, params={"genres": ["Drama", "war"], "year_min": 1990, "year_max": 2010}).json()
    assert ids(drama)
    for movie in drama["recommendations"]:
        assert {"Drama", "War"} & set(movie["genres"])
        assert 1990 <= movie["year"] <= 2010
    assert ids(service.get(path, params={"diversity": 0.9}).json()) != ids(service.get(path).json())


def test_a_new_user(service, recommender):
    ratings = [
        (int(movie), stars) for movie, stars in zip(recommender.movies[f.MOVIE_ID][:4], (5, 1, 4.5, 3), strict=True)
    ]
    body = {"ratings": [{"movie_id": movie, "rating": stars} for movie, stars in ratings], "n": 5}
    answer = service.post("/v1/recommendations", body).json()
    assert answer["source"] == "personal"
    assert ids(answer) == [movie.movie_id for movie in recommender.recommend(ratings=ratings, n=5)]
    rest = service.post("/v1/recommendations", {**body, "exclude_movie_ids": ids(answer)[:1]}).json()
    assert ids(rest)[:4] == ids(answer)[1:]


def test_nothing_known_gives_the_labelled_popularity_list(service, recommender):
    answer = service.post("/v1/recommendations", {}).json()
    assert answer["source"] == "popular"
    assert ids(answer) == [movie.movie_id for movie in recommender.recommend(ratings=[])]
    assert {movie["because"] for movie in answer["recommendations"]} == {None}


def test_the_ratings_of_a_user(service, recommender):
    user = int(recommender.user_ids[0])
    answer = service.get(f"/v1/users/{user}/ratings", params={"n": 7}).json()
    history = recommender.history(user)
    assert answer["total"] == history.height
    assert [row["rating"] for row in answer["ratings"]] == history[f.RATING].sort(descending=True).head(7).to_list()
    problem(service.get("/v1/users/999999/ratings"), 404, "user 999999 is unknown")


def pages(ask, wanted):
    """Follow the cursors for so many pages; return their movies, and whether there is one more."""
    found, cursor = [], None
    for _ in range(wanted):
        answer = ask({"cursor": cursor} if cursor else {})
        assert answer.status_code == 200, answer.text
        found += [movie["movie_id"] for movie in answer.json().get("recommendations", answer.json().get("ratings"))]
        cursor = answer.json()["next_cursor"]
    return found, cursor


def test_pages_continue_where_the_one_before_ended(service, recommender):
    user = int(recommender.user_ids[3])
    path = f"/v1/users/{user}/recommendations"
    found, cursor = pages(lambda more: service.get(path, params={"n": 7, **more}), 3)
    assert found == ids(service.get(path, params={"n": 21}).json())
    assert cursor
    some = [{"movie_id": int(movie), "rating": 5} for movie in recommender.movies[f.MOVIE_ID][:3]]
    for body in ({"ratings": some}, {}, {"user_id": str(user), "genres": ["Drama"]}):
        found, _ = pages(lambda more, body=body: service.post("/v1/recommendations", {**body, "n": 5, **more}), 2)
        assert found == ids(service.post("/v1/recommendations", {**body, "n": 10}).json())
    problem(service.get(path, params={"cursor": "1-10"}), 422, "query.cursor: the model has changed")
    problem(service.get(path, params={"cursor": cursor, "diversity": 0.5}), 422, "query.cursor: pages are of the order")
    problem(service.get(path, params={"cursor": "next"}), 422, "query.cursor")


def test_all_ratings_of_a_user_come_in_pages(service, recommender):
    user = int(recommender.user_ids[0])
    path, history = f"/v1/users/{user}/ratings", recommender.history(user)
    number = -(-history.height // 20)
    for order in ("best", "latest"):
        found, cursor = pages(lambda more, o=order: service.get(path, params={"n": 20, "order": o, **more}), number)
        assert cursor is None
        assert sorted(found) == sorted(history["movie_id"].to_list())
    latest = service.get(path, params={"order": "latest", "n": 1}).json()["ratings"][0]["movie_id"]
    newest = history.filter(history["timestamp"] == history["timestamp"].max())["movie_id"]
    assert latest in newest.to_list()


def test_only_some_movies_to_choose_from(service, recommender):
    some = [int(movie) for movie in recommender.movies[f.MOVIE_ID][10:40]]
    rated = [{"movie_id": some[0], "rating": 5}]
    for body in ({"ratings": rated}, {}, {"user_id": str(recommender.user_ids[0])}):
        answer = service.post("/v1/recommendations", {**body, "only_movie_ids": [*some, 10**9], "n": 50}).json()
        assert ids(answer)
        assert set(ids(answer)) <= set(some) - ({some[0]} if "ratings" in body else set())
        assert answer["ignored_movie_ids"] == [10**9]
    problem(service.post("/v1/recommendations", {"only_movie_ids": [10**9]}), 404, "unknown")
    problem(service.post("/v1/recommendations", {"only_movie_ids": []}), 422, "only_movie_ids")


def test_a_batch_is_answered_as_each_request_alone(service, recommender):
    some = [{"movie_id": int(movie), "rating": 4.5} for movie in recommender.movies[f.MOVIE_ID][:5]]
    requests = [
        {"user_id": str(recommender.user_ids[2]), "n": 3},
        {},
        {"user_id": "nobody"},
        {"ratings": some, "diversity": 0.4, "genres": ["comedy"]},
        {"ratings": some, "genres": ["Musicals"]},
    ]
    answers = service.post("/v1/recommendations:batch", {"requests": requests}).json()["answers"]
    assert len(answers) == len(requests)
    for request, answer in zip(requests, answers, strict=True):
        alone = service.post("/v1/recommendations", request)
        if answer["error"]:
            assert alone.status_code in (404, 422)
            continue
        assert answer["source"] == alone.json()["source"]
        assert ids(answer) == ids(alone.json())
    assert [bool(answer["error"]) for answer in answers] == [False, False, True, False, True]
    assert "requests.4.genres.0: unknown genre" in answers[4]["error"]
    problem(service.post("/v1/recommendations:batch", {"requests": [{}] * 101}), 422, "body.requests")
    problem(service.post("/v1/recommendations", {"user_id": "1", "ratings": some}), 422, "either user_id or ratings")


def test_the_api_can_be_tried_out_from_files_of_the_service(service):
    page = service.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for name in ("swagger/swagger-ui-bundle.js", "swagger/swagger-ui.css", "docs.js", "openapi.json"):
        assert name in page.text or name in service.get("/docs.js").text
        assert service.get(f"/{name}").status_code == 200
    assert "http" not in service.get("/docs.js").text


def test_an_old_clients_calls_are_answered_as_ever(service, recommender):
    """What was asked before there were pages, batches, links and lists to choose from, and what was read of it."""
    user = int(recommender.user_ids[3])
    keys = {"movie_id", "title", "genres", "year", "score", "predicted_rating", "source", "because"}
    calls = [
        service.get(f"/v1/users/{user}/recommendations", params={"n": 5, "year_min": 1950, "diversity": 0.2}),
        service.post("/v1/recommendations", {"ratings": [{"movie_id": 1, "rating": 4.5}], "exclude_movie_ids": [2]}),
        service.post("/v1/recommendations", {}),
    ]
    for call in calls:
        answer = call.json()
        assert {"model_version", "source", "recommendations", "ignored_movie_ids"} <= set(answer)
        assert all(keys <= set(movie) for movie in answer["recommendations"])
    ratings = service.get(f"/v1/users/{user}/ratings", params={"n": 3}).json()
    assert [set(row) for row in ratings["ratings"]] == [{"movie_id", "title", "rating"}] * 3
    assert ratings["total"] == recommender.history(user).height
    for path in ("/v1/movies?query=the&n=2", "/v1/movies/starter?n=2", "/v1/movies/1/similar?n=2"):
        movies = service.get(path).json()["movies"]
        assert len(movies) == 2
        assert all({"movie_id", "title", "genres", "year"} <= set(movie) for movie in movies)


def test_movies(service, recommender):
    movie = recommender.movies.row(0, named=True)
    word = movie["title"].split()[0]
    found = service.get("/v1/movies", params={"query": word, "n": 50}).json()["movies"]
    assert movie[f.MOVIE_ID] in [each["movie_id"] for each in found]
    assert service.get(f"/v1/movies/{movie[f.MOVIE_ID]}").json()["movie"]["title"] == movie["title"]
    similar = service.get(f"/v1/movies/{movie[f.MOVIE_ID]}/similar", params={"n": 4}).json()["movies"]
    assert [m["movie_id"] for m in similar] == [m.movie_id for m in recommender.similar_movies(movie[f.MOVIE_ID], 4)]
    starters = service.get("/v1/movies/starter", params={"n": 5}).json()["movies"]
    assert [found["movie_id"] for found in starters] == [found.movie_id for found in recommender.starter_movies(5)]
    assert len({found["movie_id"] for found in starters}) == 5
    problem(service.get("/v1/movies/424242"), 404, "movie 424242 is unknown")
    problem(service.get("/v1/movies/424242/similar"), 404, "movie 424242 is unknown")


def test_the_model(service, recommender):
    answer = service.get("/v1/model").json()
    assert answer["model_version"] == recommender.model_version
    assert answer["movies"] == recommender.movies.height
    assert answer["example_user_ids"] == recommender.user_ids[:10].tolist()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ratings": [{"movie_id": 1, "rating": 5.5}]}, "body.ratings.0.rating"),
        ({"ratings": [{"movie_id": 1, "rating": 0}]}, "body.ratings.0.rating"),
        ({"ratings": [{"movie_id": 1}]}, "body.ratings.0.rating"),
        ({"ratings": [{"movie_id": -1, "rating": 5}]}, "body.ratings.0.movie_id"),
        ({"ratings": [{"movie_id": 1, "rating": 5}] * 2}, "body.ratings"),
        ({"ratings": [{"movie_id": 1, "rating": 5}, {"movie_id": "1", "rating": 4}]}, "body.ratings"),
        ({"ratings": [{"movie_id": i, "rating": 5} for i in range(1001)]}, "body.ratings"),
        ({"n": 0}, "body.n"),
        ({"n": 101}, "body.n"),
        ({"exclude_movie_ids": [0] * 10_001}, "body.exclude_movie_ids"),
        ({"genres": ["Horse"]}, "body.genres.0"),
        ({"year_min": 15_000}, "body.year_min"),
        ({"diversity": 2}, "body.diversity"),
        ({"rating": []}, "body.rating"),
    ],
)
def test_a_bad_body_names_the_field(service, body, field):
    answer = service.post("/v1/recommendations", body)
    assert field in [error["field"] for error in problem(answer, 422, "")["errors"]]


def test_other_bad_requests(service):
    broken = service.client.post("/v1/recommendations", content=b"{", headers={"Content-Type": "application/json"})
    problem(broken, 422, "JSON")
    problem(service.post("/v1/recommendations", {"ratings": [{"movie_id": 424242, "rating": 5}]}), 404, "424242")
    problem(service.post("/v1/recommendations", {"exclude_movie_ids": [424242]}), 404, "424242")
    problem(service.get("/v1/users/999999/recommendations"), 404, "user 999999 is unknown")
    problem(service.get("/v1/users/abc/recommendations"), 404, "user abc is unknown")
    problem(service.get("/v1/users/1/recommendations", params={"n": 101}), 422, "query.n")
    problem(service.get("/v1/movies", params={"query": "x" * 201}), 422, "query.query")
    misspelt = problem(service.get("/v1/users/1/recommendations", params={"genre": "Drama"}), 422, "query.genre")
    assert "expected one of cursor, diversity, genres, n, year_max, year_min" in misspelt["errors"][0]["message"]
    problem(service.get("/v1/movies/1", params={"n": 3}), 422, "query.n: unknown parameter; expected none")
    problem(service.get("/nowhere"), 404, "Not Found")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long(service, chunked):
    data = b'{"ratings": [' + b" " * (1 << 20) + b"]}"
    content = (data[i : i + 65_536] for i in range(0, len(data), 65_536)) if chunked else data
    answer = service.client.post("/v1/recommendations", content=content, headers={"Content-Type": "application/json"})
    problem(answer, 413, "longer than 1,048,576 bytes")


def test_request_ids_and_security_headers(service):
    given = service.get("/healthz", headers={"X-Request-ID": "abc-1"})
    assert given.headers["X-Request-ID"] == "abc-1"
    assert service.get("/healthz", headers={"X-Request-ID": "a b"}).headers["X-Request-ID"] != "a b"
    page = service.get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_health_and_metrics(service, recommender):
    assert service.get("/healthz").json() == {"status": "ok"}
    ready = service.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    service.get(f"/v1/users/{recommender.user_ids[0]}/recommendations")
    service.get("/v1/users/999999/recommendations")
    text = service.get("/metrics").text
    for line in (
        'matinee_requests_total{method="GET",route="/v1/users/{user_id}/recommendations",status="404"}',
        'matinee_request_seconds_bucket{le="0.005",method="GET",route="/v1/users/{user_id}/recommendations"}',
        'matinee_stage_seconds_count{stage="features"}',
        'matinee_stage_seconds_count{stage="tower"}',
        'matinee_stage_seconds_count{stage="search"}',
        f"matinee_index_movies {float(recommender.movies.height)}",
    ):
        assert line in text
    service.get("/made-up/1")
    service.get("/made-up/2")
    assert "made-up" not in service.get("/metrics").text, "a stranger cannot make up labels"


def test_an_api_key(published, tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    with serving(published, api_key_file=str(key)) as service:
        assert service.get("/healthz").status_code == 200
        assert service.get("/").status_code == 200, "the page asks for the key itself"
        problem(service.get("/v1/model"), 401, "X-API-Key")
        problem(service.get("/v1/model", headers={"X-API-Key": "wrong"}), 401, "X-API-Key")
        assert service.get("/v1/model", headers={"X-API-Key": "s3cret"}).status_code == 200
        assert "APIKeyHeader" in service.get("/openapi.json").text
    key.write_text(" \n")
    with pytest.raises(ValueError, match="is empty"), serving(published, api_key_file=str(key)):
        pass
    for text in ("one\ntwo\n", "schlüssel\n", "tab\tbed"):
        key.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="write one key on one line"), serving(published, api_key_file=str(key)):
            pass
    with pytest.raises(ValueError, match="cannot read the API key"), serving(published, api_key_file="/nowhere"):
        pass


def test_the_key_is_replaced_without_a_restart(published, tmp_path):
    path = tmp_path / "key"
    path.write_text("first")

    def status(key):
        return service.get("/v1/model", headers={"X-API-Key": key}).status_code

    with serving(published, api_key_file=str(path)) as service:
        assert (status("first"), status("second")) == (200, 401)
        (tmp_path / "new").write_text("second")
        (tmp_path / "new").replace(path)
        assert (status("first"), status("second")) == (401, 200)
        for wrong in ("", "two\nlines"):
            path.write_text(wrong)
            assert status("second") == 200, "a file without a key leaves the one before"
        path.unlink()
        assert status("second") == 200
        path.write_text("third")
        assert (status("second"), status("third")) == (401, 200)


def test_wrong_keys_are_limited_and_lock_nobody_out(published, tmp_path):
    (tmp_path / "key").write_text("s3cret")
    with serving(published, api_key_file=str(tmp_path / "key")) as service:
        answers = [service.get("/v1/model", headers={"X-API-Key": f"wrong{i}"}) for i in range(40)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:20] == [401] * 20
        assert 429 in statuses
        problem(answers[statuses.index(429)], 429, "too many wrong keys")
        assert 1 <= int(answers[statuses.index(429)].headers["Retry-After"]) <= 60
        assert service.get("/v1/model", headers={"X-API-Key": "s3cret"}).status_code == 200
        assert service.get("/v1/model").status_code == 401, "without a key nobody has tried one"


def test_an_unexpected_error_shows_no_trace(service, monkeypatch):
    def explode(*_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(service.app.state.versions.current.ranker, "movie", explode)
    answer = service.get("/v1/movies/1")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["detail"].startswith("unexpected error")


class SlowTower:
    """A tower that takes its time once it is told to."""

    def __init__(self, tower):
        self.tower, self.delay_s = tower, 0.0

    async def embed(self, features):
        await asyncio.sleep(self.delay_s)
        return await self.tower.embed(features)


class SlowTowers(InProcessUserTowers):
    async def open(self, version):
        return SlowTower(await super().open(version))


def test_requests_under_way_finish_when_the_service_stops(published):
    answers = []
    with serving(published, towers=SlowTowers(ServingStore(str(published)))) as service:
        service.app.state.versions.current.tower.delay_s = 0.5
        url = f"{service.client.base_url}/v1/users/1/recommendations"
        thread = threading.Thread(target=lambda: answers.append(httpx.get(url, timeout=10)))
        thread.start()
        time.sleep(0.2)
    thread.join()
    assert answers[0].status_code == 200


def test_unknown_movies_are_left_out_and_named(service, recommender):
    known = recommender.movies[f.MOVIE_ID].to_list()[:4]
    body = {"ratings": [{"movie_id": movie, "rating": 4.5} for movie in known[:3]], "exclude_movie_ids": known[3:]}
    expected = service.post("/v1/recommendations", body).json()
    assert expected["ignored_movie_ids"] == []
    body["ratings"].insert(1, {"movie_id": 424242, "rating": 1.0})
    body["exclude_movie_ids"] += [434343, 424242]
    answer = service.post("/v1/recommendations", body).json()
    assert answer.pop("ignored_movie_ids") == [424242, 434343]
    expected.pop("ignored_movie_ids")
    assert answer == expected


def test_head_is_answered_as_get_without_the_body(service, recommender):
    user = int(recommender.user_ids[0])
    for path in ("/healthz", "/readyz", "/", "/v1/model", f"/v1/users/{user}/recommendations", "/v1/recommendations"):
        got, head = service.get(path), service.client.head(path)
        assert head.status_code == got.status_code, path
        assert head.content == b""
        assert head.headers["Content-Length"] == got.headers["Content-Length"]
        assert head.headers["X-Request-ID"]
    assert 'matinee_requests_total{method="HEAD",route="/healthz",status="200"}' in service.get("/metrics").text


@pytest.mark.parametrize(
    "path", ["/", "/.", "/./", "//", "/..", "/%2e", "/v1", "/v1/", "/v1/model/", "/healthz/", "/page"]
)
def test_nobody_is_sent_to_the_host_that_a_request_names(service, path):
    connection = http.client.HTTPConnection("127.0.0.1", service.client.base_url.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Host": "evil.example"})
        answer = connection.getresponse()
        assert answer.status in {200, 404}
        assert answer.getheader("Location") is None


def test_pages_of_allowed_origins_may_call_the_api(published, tmp_path):
    (tmp_path / "key").write_text("s3cret")
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key"}
    origins = ("https://shop.example", "https://other.example")
    with serving(published, api_key_file=str(tmp_path / "key"), allowed_origins=origins) as service:
        preflight = service.client.options("/v1/recommendations", headers={"Origin": origins[1], **ask})
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == origins[1]
        headers = {"Origin": origins[0], "X-API-Key": "s3cret"}
        answer = service.client.post("/v1/recommendations", json={}, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == origins[0]
        assert "X-Model-Version" in answer.headers["Access-Control-Expose-Headers"]
        stranger = {"Origin": "https://evil.example"}
        assert service.client.options("/v1/recommendations", headers={**stranger, **ask}).status_code == 400
        assert "Access-Control-Allow-Origin" not in service.get("/healthz", headers=stranger).headers


def test_without_allowed_origins_no_page_but_its_own_may(service):
    answer = service.get("/healthz", headers={"Origin": "https://shop.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers

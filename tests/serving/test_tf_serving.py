"""The contract with TensorFlow Serving: the same answers over REST and gRPC as in process, and clear failures."""

import asyncio
import time

import httpx
import numpy as np
import pytest

from components.trainer.config import TrainerConfig
from schemas import features as f
from serving import Recommender
from serving.config import TowerConfig
from serving.tf_serving import connect
from serving.user_tower import BlockingUserTower, TowerError
from tests.serving.harness import QUICK, publish_next

DIM = TrainerConfig().joined_dim(20)

PROTOCOLS = ("rest_url", "grpc_url")


def config(url, **changes):
    return TowerConfig(
        **{**{name: getattr(QUICK, name) for name in ("timeout_s", "backoff_s", "recovery_s")}, **changes},
        tf_serving=url,
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_ten_movies_as_in_process(published, tf_serving, protocol):
    local = Recommender.load(str(published))
    towers = connect(config(getattr(tf_serving, protocol), timeout_s=10))
    tower = BlockingUserTower(towers, local.model_version)
    try:
        remote = Recommender.load(str(published), user_tower=tower)
        users = local.user_ids[:200].tolist()
        for user in users:
            expected = [movie.movie_id for movie in local.recommend(user_id=user)]
            assert [movie.movie_id for movie in remote.recommend(user_id=user)] == expected
        batch = local.features([local.profile(user) for user in users])
        answer, expected = tower.embed(batch), local._tower.embed(batch)
        np.testing.assert_allclose(answer.embeddings, expected.embeddings, atol=1e-5)
        np.testing.assert_allclose(answer.rating_vectors, expected.rating_vectors, atol=1e-5)
    finally:
        tower.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_version_that_is_not_loaded(published, tf_serving, protocol):
    with pytest.raises(TowerError, match=r"NOT_FOUND|404") as caught:
        BlockingUserTower(connect(config(getattr(tf_serving, protocol), timeout_s=10)), 5)
    assert caught.value.kind == "not_loaded"


def test_the_rest_row_format_and_serialized_examples(published, tf_serving):
    """What other clients of TensorFlow Serving would send, such as the README's curl."""
    version = Recommender.load(str(published)).model_version
    rows = [{name: [1.0] * length for name, length in f.lengths(f.USER_FEATURES, 20).items()}]
    rows[0] |= {f.USER_HISTORY_MOVIES: [1, 260], f.USER_HISTORY_RATINGS: [5.0, 4.5], f.TIMESTAMP: [1_500_000_000]}
    url = f"{tf_serving.rest_url}/v1/models/user_tower/versions/{version}:predict"
    answer = httpx.post(url, json={"signature_name": "embed_user", "instances": rows}, timeout=10).json()
    assert np.linalg.norm(answer["predictions"][0]["user_embedding"]) == pytest.approx(1, abs=1e-3)
    bad = httpx.post(url, json={"signature_name": "embed_user", "instances": [{"a": [1.0]}]}, timeout=10)
    assert bad.status_code == 400


@pytest.fixture
def user(published):
    recommender = Recommender.load(str(published))
    return recommender.model_version, recommender.user_tower_inputs(int(recommender.user_ids[0]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dead_tower_is_tried_a_few_times_and_then_left_alone(double, user, protocol):
    towers = connect(config(getattr(double, protocol), attempts=2, failures_to_open=4, timeout_s=10))

    async def scenario():
        tower = await towers.open(user[0])
        await tower.embed(user[1])
        assert towers.retry_after_s == 0
        double.stop()
        kinds = []
        for _ in range(4):
            try:
                await tower.embed(user[1])
            except TowerError as error:
                kinds.append(error.kind)
        assert kinds[:2] == ["connection", "connection"], "two attempts each"
        assert kinds[2:] == ["circuit_open", "circuit_open"], "and nothing is sent"
        assert towers.retry_after_s >= 1
        double.start()
        await asyncio.sleep(1.5)
        answer = await tower.embed(user[1])
        assert answer.embeddings.shape == (1, DIM)
        assert towers.retry_after_s == 0
        await towers.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_asking_for_a_version_that_is_not_loaded_yet_hurts_no_other(double, user, protocol):
    towers = connect(config(getattr(double, protocol), timeout_s=10, failures_to_open=2))

    async def scenario():
        tower = await towers.open(user[0])
        for _ in range(5):
            with pytest.raises(TowerError, match=r"NOT_FOUND|404"):
                await towers.open(user[0] + 1)
        assert towers.retry_after_s == 0
        assert (await tower.embed(user[1])).embeddings.shape == (1, DIM)
        await towers.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_late_answer_is_given_up(double, user, protocol):
    patient = connect(config(getattr(double, protocol), timeout_s=30))
    towers = connect(config(getattr(double, protocol), attempts=2, timeout_s=1.0))

    async def scenario():
        await (await patient.open(user[0])).embed(user[1])  # The model is loaded now.
        await patient.close()
        tower = await towers.open(user[0])
        double.delay_s, before = 8.0, double.requests
        begin = asyncio.get_running_loop().time()
        with pytest.raises(TowerError) as caught:
            await tower.embed(user[1])
        assert caught.value.kind == "timeout"
        assert double.requests == before + 2, "bounded retries"
        assert asyncio.get_running_loop().time() - begin < double.delay_s, "it was not waited for"
        await towers.close()

    asyncio.run(scenario())


def load(towers, user, clients, requests, disturb, at_least_s=0.0):
    """Ask from several clients at once while something happens to the server; return the failures."""
    failures, end = [], time.monotonic() + at_least_s

    async def client(tower):
        asked = 0
        while asked < requests or time.monotonic() < end:
            asked += 1
            try:
                assert (await tower.embed(user[1])).embeddings.shape == (1, DIM)
            except TowerError as error:
                failures.append(str(error))

    async def scenario():
        tower = await towers.open(user[0])
        await tower.embed(user[1])
        tasks = [asyncio.create_task(client(tower)) for _ in range(clients)]
        await disturb(tasks)
        await asyncio.gather(*tasks)
        await towers.close()

    asyncio.run(scenario())
    return failures


async def nothing(_):
    """Leave the server alone."""


@pytest.mark.slow
@pytest.mark.parametrize("clients", [8, 64])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_many_clients_at_once(published, tf_serving, user, protocol, clients):
    towers = connect(config(getattr(tf_serving, protocol), timeout_s=10))
    assert load(towers, user, clients, 1_600 // clients, nothing) == []


def test_connections_that_the_server_ends_lose_no_request(double, user):
    """GOAWAY: a server ends its connections at an age, with what is under way on them."""
    # The double loads a model when it is first asked for, which may take longer than a connection gets below.
    assert load(connect(config(double.grpc_url, timeout_s=30)), user, 1, 1, nothing) == []
    double.stop()
    # Much longer than an answer takes on a busy machine: a server that ends a connection before its first answer is one
    # that is away.
    double.grpc_options = [("grpc.max_connection_age_ms", 1_000), ("grpc.max_connection_age_grace_ms", 1)]
    double.start()
    assert load(connect(config(double.grpc_url, timeout_s=10)), user, 8, 100, nothing, at_least_s=5) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_is_started_again_under_load_loses_no_request(double, user, protocol):
    async def disturb(tasks):
        for _ in range(3):
            await asyncio.sleep(0.3)
            assert not all(task.done() for task in tasks)
            await asyncio.to_thread(double.stop)
            double.start()

    towers = connect(config(getattr(double, protocol), timeout_s=10, attempts=5, failures_to_open=50))
    assert load(towers, user, 8, 250, disturb) == []


def test_an_answer_of_another_version_is_refused(double, root, user):
    other = publish_next(root)
    towers = connect(config(double.grpc_url, timeout_s=10))

    async def scenario():
        tower = await towers.open(user[0])
        double.answer_version = other
        with pytest.raises(TowerError, match=f"answered with version {other}, asked for {user[0]}"):
            await tower.embed(user[1])
        await towers.close()

    asyncio.run(scenario())


def _transport(status, **content):
    return httpx.MockTransport(lambda request: httpx.Response(status, **content))


def both(vectors):
    """Outputs of a tower whose embeddings and rating vectors are the same."""
    return {"user_embedding": vectors, "user_rating_vector": vectors}


@pytest.mark.parametrize(
    ("transport", "message", "kind"),
    [
        (_transport(500, text="boom"), "answered 500", "refused"),
        (_transport(200, text="<html>"), "answered no JSON", "answer"),
        (_transport(200, json={"outputs": both([[1.0, 1.0]])}), "no unit vectors", "answer"),
        (_transport(200, json={"outputs": both([[1.0, 0.0]] * 2)}), r"answered \(2, 2\) to a batch of 1", "answer"),
        (_transport(200, json={"outputs": [[1.0, 0.0]]}), "answered no embeddings", "answer"),
        (
            _transport(200, json={"outputs": {"user_embedding": [[1.0, 0.0]]}}),
            "answered no user_rating_vector",
            "answer",
        ),
        (_transport(200, json={"predictions": []}), "answered no embeddings", "answer"),
    ],
)
def test_answers_that_cannot_be_used(user, transport, message, kind):
    from serving.tf_serving.rest import RestUserTower, RestUserTowers

    towers = RestUserTowers("http://tower", config("http://tower"))
    towers._client = httpx.AsyncClient(base_url="http://tower", transport=transport)
    with pytest.raises(TowerError, match=message) as caught:
        asyncio.run(RestUserTower(towers, 1).embed(user[1]))
    assert caught.value.kind == kind


def test_addresses():
    with pytest.raises(ValueError, match="tf_serving is 'localhost:8501', expected http://host:8501 or grpc://"):
        connect(TowerConfig(tf_serving="localhost:8501"))

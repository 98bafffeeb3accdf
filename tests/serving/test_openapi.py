"""Generated requests against the OpenAPI document: no server error, no status that the document does not name."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.app import create_app
from serving.config import ServiceConfig

TAKES_INPUT = [
    "GET /v1/users/{user_id}/recommendations",
    "POST /v1/recommendations",
    "POST /v1/recommendations:batch",
    "GET /v1/users/{user_id}/ratings",
    "GET /v1/movies",
    "GET /v1/movies/starter",
    "GET /v1/movies/{movie_id}",
    "GET /v1/movies/{movie_id}/similar",
]
TAKES_NONE = ["GET /v1/model", "GET /healthz", "GET /readyz", "GET /metrics"]
VALID, INVALID = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def operations(service):
    schema = schemathesis.openapi.from_url(f"{service.client.base_url}/openapi.json")
    return {operation.label: operation for operation in (result.ok() for result in schema.get_all_operations())}


def test_every_operation_is_tried(operations):
    assert set(operations) == {*TAKES_INPUT, *TAKES_NONE}


@pytest.mark.parametrize(
    ("label", "mode"), [*((x, VALID) for x in TAKES_NONE + TAKES_INPUT), *((x, INVALID) for x in TAKES_INPUT)]
)
def test_every_answer_is_documented(operations, label, mode):
    """Requests that the document allows, and requests that it does not."""
    strategy = operations[label].as_strategy(generation_mode=mode)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(case=strategy)
    def ask(case):
        case.call_and_validate(checks=CHECKS)

    ask()


def test_operations_have_names_that_last_and_requests_an_example(published, tmp_path):
    (tmp_path / "key").write_text("secret")
    document = create_app(str(published), ServiceConfig(api_key_file=str(tmp_path / "key"))).openapi()
    names = {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()}
    assert {"recommend_to_user", "recommend_to_ratings", "recommend_to_many", "find_movies", "readyz"} <= names
    assert document["components"]["schemas"]["RecommendationRequest"]["examples"]
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")


def test_the_document_describes_every_field(published):
    document = create_app(str(published)).openapi()
    assert document["components"]["schemas"]["Recommendation"]["properties"]["predicted_rating"]["description"]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["description"], path

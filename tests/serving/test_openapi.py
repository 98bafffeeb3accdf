"""Generated requests against the OpenAPI document: no server error, no status that the document does not name."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from serving.app import create_app

OPERATIONS = [
    "GET /v1/users/{user_id}/recommendations",
    "POST /v1/recommendations",
    "GET /v1/users/{user_id}/ratings",
    "GET /v1/movies",
    "GET /v1/movies/{movie_id}",
    "GET /v1/movies/{movie_id}/similar",
    "GET /v1/model",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
]
CHECKS = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]


@pytest.fixture(scope="module")
def operations(service):
    schema = schemathesis.openapi.from_url(f"{service.client.base_url}/openapi.json")
    return {operation.label: operation for operation in (result.ok() for result in schema.get_all_operations())}


def test_every_operation_is_tried(operations):
    assert set(operations) == set(OPERATIONS)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_documented(operations, label, mode):
    """Requests that the document allows, and requests that it does not."""
    try:
        strategy = operations[label].as_strategy(generation_mode=mode)
        strategy.validate()
    except schemathesis.errors.SchemathesisError:
        assert mode.is_negative and label.split("/")[-1] in ("model", "healthz", "readyz", "metrics")
        return  # An operation without parameters cannot be asked wrongly.

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(case=strategy)
    def ask(case):
        case.call_and_validate(checks=CHECKS)

    ask()


def test_the_document_describes_every_field(published):
    document = create_app(str(published)).openapi()
    assert document["components"]["schemas"]["Recommendation"]["properties"]["predicted_rating"]["description"]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["description"], path

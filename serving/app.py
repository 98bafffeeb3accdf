"""The HTTP service as an application factory."""

from __future__ import annotations

import contextlib
import gc
import math
import pathlib
import socket
from collections.abc import AsyncIterator

import anyio
import structlog
from cachetools import LRUCache
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import APIKeyHeader
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from serving import api_models as api
from serving.answers import UnknownIdError
from serving.api_key import HEADER, ApiKey, KeyRequired
from serving.asked import MODEL_VERSION_HEADER, NotReadyError, RequestError
from serving.canary import Canary
from serving.config import ServiceConfig, TowerConfig
from serving.event_routes import router as event_router
from serving.events.errors import EventStoreError
from serving.events.service import kept
from serving.member import Member
from serving.metrics import Metrics
from serving.middleware import REQUEST_ID_HEADER, Observed
from serving.rating_file import DamagedError
from serving.routes import operations, router
from serving.store import ServingStore
from serving.tf_serving import connect
from serving.tracing import flushed, tracing
from serving.user_tower import InProcessUserTowers, TowerError, UserTowers
from serving.versions import Trial, VersionInUse, Versions, choices

_PAGE = pathlib.Path(__file__).with_name("page")
_FIRST_LOOK_S = 30.0
_COLLECTED_AFTER = 50_000
"""Objects more than before after which Python looks for garbage."""
_LOG = structlog.get_logger()
_KEY = APIKeyHeader(name=HEADER, auto_error=False, description="Only where the service was started with a key")


def create_app(
    serving_dir: str,
    service: ServiceConfig | None = None,
    tower: TowerConfig | None = None,
    towers: UserTowers | None = None,
    supervisor: socket.socket | None = None,
) -> FastAPI:
    """Build the service.

    Args:
      serving_dir: Path or URI of the served versions, which is followed while serving.
      service: Configuration of the service.
      tower: Where the user tower is.
      towers: User towers to use instead of those that `tower` describes.
      supervisor: Where this is one of several workers, the connection to what has started them.

    Raises:
      ValueError: The API key's file cannot be read or is empty, or the tower's address is no address.
    """
    service, tower = service or ServiceConfig(), tower or TowerConfig()
    metrics = Metrics()
    store, telemetry = ServingStore(serving_dir), tracing(service.traces)
    if towers is None:
        towers = connect(tower) if tower.tf_serving else InProcessUserTowers(store)
    looks = store, towers, metrics, service.poll_s, service.load_timeout_s
    canary = Canary.of(service.canary) if service.canary else None
    versions: VersionInUse
    if supervisor is not None:
        versions = Member(supervisor, *looks, canary)
    elif canary is None:
        versions = Versions(*looks)
    else:
        everybody, some = choices(canary, serving_dir, lambda: main.in_use)
        main = Versions(*looks, everybody)
        versions = Trial(canary, main, Versions(*looks, some, is_tried=True))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # What is there before any version stays: to look through it at every collection takes a fifth of a second.
        gc.collect()
        gc.freeze()
        # What a list is made of is gone once it is sent, and in no cycle: to look for one every 700 objects
        # takes up to a twelfth of the time of 16 requests at once.
        gc.set_threshold(_COLLECTED_AFTER)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(versions.follow)
            # Who asks at once is answered from a model, and who stops a service that does not get one is heard.
            with anyio.move_on_after(_FIRST_LOOK_S):
                await versions.looked.wait()
            yield
            tasks.cancel_scope.cancel()
        await towers.close()
        if events:
            events.close()
        await flushed(telemetry)

    app = FastAPI(
        title="Matinee",
        summary="Movie recommendations from a two-tower model",
        version="1",
        lifespan=lifespan,
        # Spans of requests are FastAPI's own.
        telemetry=telemetry,
        # FastAPI's own pages load scripts from another host.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.versions, app.state.towers, app.state.metrics = versions, towers, metrics
    app.state.lists = LRUCache(service.kept_lists_mb << 20, len)
    app.state.events = events = kept(service.events) if service.events else None
    if service.api_key_file:
        app.add_middleware(KeyRequired, key=ApiKey(service.api_key_file))
    if service.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.allowed_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"] if service.events else ["GET", "HEAD", "POST"],
            allow_headers=["Content-Type", "Idempotency-Key", HEADER, REQUEST_ID_HEADER],
            expose_headers=["Retry-After", MODEL_VERSION_HEADER, REQUEST_ID_HEADER],
        )
    # Outermost: preflights get an id, a log line and metrics as well.
    app.add_middleware(Observed, metrics=metrics, max_body_bytes=service.max_body_bytes)
    # `KeyRequired` looks at it: the dependency tells the API's documentation.
    for routes in (router, event_router) if events else (router,):
        app.include_router(routes, dependencies=[Depends(_KEY)] if service.api_key_file else [])
    app.include_router(operations)
    # Not `html=True` below: it sends a folder's path to whatever host the request named.
    app.add_api_route("/", lambda: FileResponse(_PAGE / "index.html"), include_in_schema=False, response_model=None)
    app.add_api_route("/docs", lambda: FileResponse(_PAGE / "docs.html"), include_in_schema=False, response_model=None)
    app.mount("/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="swagger")
    app.mount("/", StaticFiles(directory=_PAGE), name="page")
    _handle_errors(app)
    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return api.problem(request.scope, error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = api.field_errors(error.errors())
        return api.problem(request.scope, 422, f"{errors[0].field}: {errors[0].message}", errors)

    @app.exception_handler(UnknownIdError)
    async def unknown_id(request: Request, error: UnknownIdError) -> JSONResponse:
        return api.problem(request.scope, 404, str(error))

    @app.exception_handler(RequestError)
    async def not_of_this_version(request: Request, error: RequestError) -> JSONResponse:
        fields = [api.FieldError(field=error.field, message=str(error))]
        return api.problem(request.scope, 422, f"{error.field}: {error}", fields)

    @app.exception_handler(NotReadyError)
    async def not_ready(request: Request, error: NotReadyError) -> JSONResponse:
        return api.problem(request.scope, 503, str(error), headers={"Retry-After": "5"})

    @app.exception_handler(DamagedError)
    async def damaged(request: Request, error: DamagedError) -> JSONResponse:
        _LOG.error("version in use damaged", request_id=request.state.request_id, reason=str(error))
        request.app.state.versions.report_damage(request.state.model_version)
        detail = "a file of the model has changed; the log says which"
        return api.problem(request.scope, 503, detail, headers={"Retry-After": "5"})

    @app.exception_handler(EventStoreError)
    async def events_failed(request: Request, error: EventStoreError) -> JSONResponse:
        _LOG.error("events failed", request_id=request.state.request_id, reason=str(error))
        detail = "events can neither be kept nor read now; the log says why"
        return api.problem(request.scope, 503, detail, headers={"Retry-After": "5"})

    @app.exception_handler(TowerError)
    async def tower_failed(request: Request, error: TowerError) -> JSONResponse:
        _LOG.warning("tower failed", request_id=request.state.request_id, kind=error.kind, reason=str(error))
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
        return api.problem(request.scope, 503, "the user tower does not answer; try again later", headers=headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        _LOG.error("unexpected error", request_id=request.state.request_id, exc_info=error)
        return api.problem(request.scope, 500, "unexpected error; the log has it under this request id")

"""The routes of the service."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Literal

import orjson
from cachetools import LRUCache
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.datastructures import MutableHeaders

from schemas import features as f
from schemas.ingest import TITLE
from serving import api_models as api
from serving.answers import PERSONAL, POPULAR, Id, Profile, RatedMovie, UnknownIdError
from serving.answers import Request as RankRequest
from serving.changes import Changes
from serving.events.service import Events
from serving.user_tower import UserTowers
from serving.versions import ServedVersion, VersionInUse

MODEL_VERSION_HEADER = "X-Model-Version"
_LONGEST_NAME = 100


class NotReadyError(RuntimeError):
    """No version is in use yet."""


async def served(request: Request, response: Response) -> ServedVersion:
    """Return the version in use, for the whole of one request.

    Raises:
      RequestError: A query parameter is none of the route's.
      NotReadyError: There is no version yet.
    """
    check_parameters(request)
    return _answering(request, response.headers, request.path_params.get("user_id"))


def _answering(request: Request, headers: MutableHeaders | dict[str, str], user_id: Id | None) -> ServedVersion:
    """Return the version that a user gets, and name it as the one that answers."""
    version = version_of(request, user_id)
    request.state.model_version = version.version
    headers[MODEL_VERSION_HEADER] = str(version.version)
    return version


def version_of(request: Request, user_id: Id | None) -> ServedVersion:
    """Return the version that a user gets, or who does not say who asks.

    Raises:
      NotReadyError: There is no version yet.
    """
    versions: VersionInUse = request.app.state.versions
    version = versions.current if user_id is None else versions.of(user_id)
    if version is None:
        raise NotReadyError(versions.problem)
    return version


Served = Annotated[ServedVersion, Depends(served)]
UserPath = Annotated[api.UserKey, Path()]
MoviePath = Annotated[api.MovieKey, Path()]
Count = Annotated[int, Query(ge=1, le=api.MAX_N, description="How many")]

_PROBLEMS = {
    400: {"model": api.Problem, "description": "The body is no text that could be JSON"},
    401: {"model": api.Problem, "description": "The API key is missing or wrong"},
    429: {"model": api.Problem, "description": "Too many wrong API keys from this address; Retry-After"},
    404: {"model": api.Problem, "description": "The version in use does not hold this user or movie"},
    413: {"model": api.Problem, "description": "The body is too long"},
    422: {"model": api.Problem, "description": "A field is wrong; `errors` names it"},
    503: {"model": api.Problem, "description": "No version is loaded, or the user tower does not answer; Retry-After"},
}


def problems(*statuses: int) -> dict:
    """Return OpenAPI's answers of a route that may have these statuses beside those of all."""
    return {status: _PROBLEMS[status] for status in (401, 422, 429, 503, *statuses)}


class RequestError(ValueError):
    """A value that the version in use does not take."""

    def __init__(self, field: str, message: str) -> None:
        """Name the field of the request, and say what is wrong."""
        super().__init__(message)
        self.field = field


def _check_genres(version: ServedVersion, genres: Sequence[str], field: str) -> None:
    known = version.ranker.domain.categories
    for place, name in enumerate(genres):
        if version.ranker.category(name) is None:
            raise RequestError(f"{field}.{place}", f"unknown genre; expected one of {', '.join(known)}")


def check_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have: one that is misspelt would change nothing, unnoticed.

    Raises:
      RequestError: There is one.
    """
    if not request.scope["query_string"]:
        return
    taken = _parameters(request.scope["route"])
    for name in request.query_params:
        if name not in taken:
            expected = f"one of {', '.join(taken)}" if taken else "none"
            raise RequestError(f"query.{name[:_LONGEST_NAME]}", f"unknown parameter; expected {expected}")


def _parameters(route: APIRoute) -> list[str]:
    """Return the names of a route's query parameters, those that FastAPI reads and those of `_documented`."""
    documented = (route.openapi_extra or {}).get("parameters", [])
    own = [each["name"] for each in documented if each["in"] == "query"]
    return sorted([field.alias for field in route.dependant.query_params] + own)


def _documented(query: type[BaseModel], **path: Any) -> dict[str, Any]:
    """Return OpenAPI's parameters of a route that reads them itself: FastAPI would take a quarter of its time.

    Args:
      query: Those of the query.
      path: Name -> type of those of the path.
    """
    schemas = [("path", name, TypeAdapter(kind).json_schema()) for name, kind in path.items()]
    schemas += [("query", name, schema) for name, schema in query.model_json_schema()["properties"].items()]
    return {
        "parameters": [
            {"name": name, "in": where, "required": where == "path", "schema": schema}
            | ({"description": schema["description"]} if "description" in schema else {})
            for where, name, schema in schemas
        ]
    }


class _Direct(APIRoute):
    """A route that FastAPI describes, and whose endpoint makes the response of the request by itself."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint."""
        return self.endpoint


def _asked_of_user(request: Request) -> api.RecommendationRequest:
    """Read what a known user wants.

    Raises:
      RequestValidationError: A parameter is wrong.
    """
    values = {}
    if request.scope["query_string"]:
        given = request.query_params
        values = {name: given.getlist(name) if name == "genres" else given[name] for name in given}
    try:
        return api.RecommendationRequest.model_validate(values | request.path_params)
    except ValidationError as error:
        wrong = [
            {**each, "loc": ("path" if each["loc"][0] in request.path_params else "query", *each["loc"])}
            for each in error.errors()
        ]
        raise RequestValidationError(wrong) from None


def check_rating(version: ServedVersion, rating: float, field: str) -> None:
    """Raise RequestError unless a rating is on the data's scale."""
    scale = version.ranker.domain.scale
    if not scale.min <= rating <= scale.max:
        raise RequestError(field, f"expected {scale.min:g} to {scale.max:g}")


async def _changes(request: Request, version: ServedVersion, user_id: Id | None) -> Changes | None:
    """Return what is known of a user beyond the version, where the service keeps events."""
    events: Events | None = request.app.state.events
    return None if events is None or user_id is None else await events.of_user(version.ranker.written(user_id))


router = APIRouter(prefix="/v1")


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A request in the terms of the version in use."""

    profile: Profile
    request: RankRequest
    ignored: list[Id]

    @property
    def source(self) -> Literal["personal", "popular"]:
        return PERSONAL if len(self.profile.rows) else POPULAR


def _asked(
    version: ServedVersion, body: api.RecommendationRequest, where: str, changes: Changes | None = None
) -> _Asked:
    """Translate a request; movies that the version does not hold are left out.

    Args:
      version: The version in use.
      body: The request.
      where: Its place, which errors name.
      changes: What is known of the user beyond the version.

    Raises:
      RequestError: A value is none that the version takes.
      UnknownIdError: It does not hold the user, or of a list of movies none.
    """
    ranker = version.ranker
    _check_genres(version, body.genres, f"{where}.genres")
    for place, rating in enumerate(body.ratings):
        check_rating(version, rating.rating, f"{where}.ratings.{place}.rating")
    rated, unknown = ranker.known([rating.movie_id for rating in body.ratings])
    if rated and len(set(ranker.rows(rated).tolist())) < len(rated):  # 1 and "1" are the same movie of MovieLens'.
        raise RequestError(f"{where}.ratings", "a movie is rated twice; pass each movie once")
    if body.cursor is not None and body.diversity:
        message = "pages are of the order by score; ask without diversity, or for more at once (n)"
        raise RequestError(f"{where}.cursor", message)
    stars = {rating.movie_id: rating.rating for rating in body.ratings}
    ratings = [(movie_id, stars[movie_id]) for movie_id in rated]
    excluded, unknown_excluded = ranker.known(body.exclude_movie_ids)
    only, unknown_only = (None, []) if body.only_movie_ids is None else ranker.known(body.only_movie_ids)
    request = RankRequest(
        n=min(body.n, ranker.manifest.counts["movies"]),  # A small catalogue has fewer movies than may be asked for.
        exclude_movie_ids=(*excluded, *(ranker.held(changes.hidden) if changes else ())),
        filter=body.filter(),
        diversity=body.diversity,
        skip=_place(version, body.cursor, f"{where}.cursor"),
        only_movie_ids=None if only is None else tuple(only),
    )
    ignored = list(dict.fromkeys([*unknown, *unknown_excluded, *unknown_only]))
    profile = version.known(body.user_id, changes) if body.user_id is not None else ranker.profile(ratings=ratings)
    return _Asked(profile, request, ignored)


def _place(version: ServedVersion, cursor: str | None, field: str) -> int:
    """Return where a page begins.

    Raises:
      RequestError: The page before came from another version.
    """
    if cursor is None:
        return 0
    of, _, place = cursor.partition("-")
    if int(of) != version.version:
        raise RequestError(field, "the model has changed since the page before; begin again without a cursor")
    return int(place)


def _next(version: ServedVersion, begin: int, found: int, wanted: int) -> str | None:
    """Return the cursor of the page behind one that is full."""
    return f"{version.version}-{begin + found}" if found == wanted else None


async def _recommend(version: ServedVersion, asked: _Asked) -> api.Recommendations:
    request = asked.request
    found = await version.recommend(asked.profile, request)
    following = None if request.diversity else _next(version, request.skip, len(found), request.n)
    return api.Recommendations(
        model_version=version.version,
        source=asked.source,
        recommendations=found,
        ignored_movie_ids=asked.ignored,
        next_cursor=following,
    )


async def recommend_to_user(request: Request) -> Response:
    """Recommend unseen movies to a known user."""
    check_parameters(request)
    body, headers = _asked_of_user(request), dict[str, str]()
    version = _answering(request, headers, body.user_id)
    changes = await _changes(request, version, body.user_id)
    kept: LRUCache[tuple, bytes] = request.app.state.lists
    until = None if changes is None else changes.until
    # What a list follows from, as it was validated: of a query string nothing bounds what is kept.
    asked = version.version, until, *vars(body).values()
    content = kept.get(asked)
    if content is None:
        answer = await _recommend(version, _asked(version, body, "query", changes))
        # Movies are dataclasses, which orjson writes in a third of pydantic's time.
        content = orjson.dumps(answer, default=vars)
        if len(content) <= kept.maxsize:
            kept[asked] = content
    else:
        request.app.state.metrics.kept_lists.inc()
    return Response(content, headers=headers, media_type="application/json")


router.add_api_route(
    "/users/{user_id}/recommendations",
    recommend_to_user,
    response_model=api.Recommendations,
    responses=problems(404),
    tags=["recommendations"],
    openapi_extra=_documented(api.RecommendationQuery, user_id=api.UserKey),
    route_class_override=_Direct,
)


@router.post("/recommendations", responses=problems(400, 404, 413), tags=["recommendations"])
async def recommend_to_ratings(
    request: Request, response: Response, version: Served, body: api.RecommendationRequest
) -> api.Recommendations:
    """Recommend unseen movies to a new user from a few ratings, or to a known one; without either, the popularity list.

    Ratings are given latest last, as they came. Movies that the version in use does not hold are left out of the
    request and named in `ignored_movie_ids`; a list of which it holds none is an error.
    """
    if body.user_id is not None:
        version = _answering(request, response.headers, body.user_id)
    changes = await _changes(request, version, body.user_id)
    return await _recommend(version, _asked(version, body, "body", changes))


@router.post("/recommendations:batch", responses=problems(400, 413), tags=["recommendations"])
async def recommend_to_many(request: Request, version: Served, body: api.BatchRequest) -> api.BatchAnswers:
    """Answer up to a hundred requests, each as `/v1/recommendations` would, all by the same version.

    A request that names an unknown user, movie or genre has its error in its place among the answers.
    """
    asked: list[_Asked | str] = []
    for place, each in enumerate(body.requests):
        try:
            changes = await _changes(request, version, each.user_id)
            asked.append(_asked(version, each, f"body.requests.{place}", changes))
        except (RequestError, UnknownIdError) as error:
            asked.append(f"{error.field}: {error}" if isinstance(error, RequestError) else str(error))
    fitting = [each for each in asked if isinstance(each, _Asked)]
    found = iter(await asyncio.gather(*(version.recommend(each.profile, each.request) for each in fitting)))
    answers = [
        api.BatchAnswer(error=each)
        if isinstance(each, str)
        else api.BatchAnswer(source=each.source, recommendations=next(found), ignored_movie_ids=each.ignored)
        for each in asked
    ]
    return api.BatchAnswers(model_version=version.version, answers=answers)


@router.get("/users/{user_id}/ratings", responses=problems(404), tags=["users"])
async def ratings_of_user(
    request: Request,
    version: Served,
    user_id: UserPath,
    n: Count = 50,
    order: Annotated[Literal["best", "latest"], Query(description="What comes first")] = "best",
    cursor: Annotated[api.Cursor | None, Query()] = None,
) -> api.UserRatings:
    """List what a known user has rated: the best first, of these the latest, or simply the latest first."""
    begin = _place(version, cursor, "query.cursor")
    history = version.ranker.history(user_id, await _changes(request, version, user_id))
    by = [f.RATING, f.TIMESTAMP] if order == "best" else [f.TIMESTAMP]
    page = history.sort(*by, f.MOVIE_ID, descending=[*(True for _ in by), False])[begin : begin + n]
    return api.UserRatings(
        model_version=version.version,
        total=history.height,
        ratings=[RatedMovie(*row) for row in page.select(f.MOVIE_ID, TITLE, f.RATING).iter_rows()],
        next_cursor=_next(version, begin, page.height, n) if begin + page.height < history.height else None,
    )


@router.get("/movies", responses=problems(), tags=["movies"])
async def find_movies(
    version: Served,
    query: Annotated[str, Query(max_length=200, description="Words of the title; without any, the most rated")] = "",
    n: Count = 10,
    ids: Annotated[
        list[api.MovieKey], Query(max_length=api.MAX_N, description="These movies, in place of a search")
    ] = [],  # noqa: B006  FastAPI copies it.
) -> api.Movies:
    """Find movies by title, or several by their ids; ids that the version in use does not hold are left out."""
    if ids:
        found = version.ranker.held(ids)
        return api.Movies(model_version=version.version, movies=[version.ranker.movie(key) for key in found])
    return api.Movies(model_version=version.version, movies=version.ranker.find_movies(query, n))


@router.get("/movies/starter", responses=problems(), tags=["movies"])
async def starter_movies(version: Served, n: Count = 24) -> api.Movies:
    """List the movies to ask a new user about first: well known, and each says something new about their taste."""
    return api.Movies(model_version=version.version, movies=version.ranker.starter_movies(n))


@router.get("/movies/{movie_id}", responses=problems(404), tags=["movies"])
async def movie(version: Served, movie_id: MoviePath) -> api.MovieAnswer:
    """Return one movie."""
    return api.MovieAnswer(model_version=version.version, movie=version.ranker.movie(movie_id))


@router.get("/movies/{movie_id}/similar", responses=problems(404), tags=["movies"])
async def similar_movies(version: Served, movie_id: MoviePath, n: Count = 10) -> api.SimilarMovies:
    """List the movies closest to a movie."""
    found = version.ranker.similar_movies(movie_id, min(n, version.ranker.manifest.counts["movies"] - 1))
    return api.SimilarMovies(model_version=version.version, movies=found)


@router.get("/model", responses=problems(), tags=["model"])
async def model_info(version: Served) -> api.ModelInfo:
    """Describe the version in use."""
    manifest = version.ranker.manifest
    counts = {name: manifest.counts[name] for name in ("movies", "users", "ratings")}
    return api.ModelInfo(
        model_version=version.version,
        created_s=manifest.created_s,
        **counts,
        genres=list(manifest.domain.categories),
        scale=manifest.domain.scale,
        timed=manifest.domain.timed,
        example_user_ids=version.ranker.user_ids[:10].tolist(),
    )


operations = APIRouter(tags=["operations"])


@operations.get("/healthz")
async def healthz() -> api.Health:
    """Tell that the process works."""
    return api.Health()


@operations.get("/readyz", responses={503: {"model": api.Readiness, "description": "Not ready"}})
async def readyz(request: Request, response: Response) -> api.Readiness:
    """Tell whether recommendations can be given: a version is loaded and its user tower answers."""
    versions: VersionInUse = request.app.state.versions
    towers: UserTowers = request.app.state.towers
    problem = versions.problem if versions.current is None else ""
    if not problem and towers.retry_after_s:
        problem = f"the user tower does not answer; it is asked again in {towers.retry_after_s:g} s"
    if problem:
        response.status_code = 503
    version = versions.current.version if versions.current else None
    return api.Readiness(ready=not problem, model_version=version, problem=problem)


@operations.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)

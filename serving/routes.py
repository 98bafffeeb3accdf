"""The routes of the service."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import orjson
from cachetools import LRUCache
from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from schemas import features as f
from schemas.ingest import TITLE
from serving import api_models as api
from serving.answers import Id, RatedMovie, UnknownIdError
from serving.asked import (
    Asked,
    Count,
    Direct,
    MoviePath,
    RequestError,
    Served,
    UserPath,
    answering,
    asked_of_user,
    check_parameters,
    cursor_behind,
    documented,
    in_terms_of,
    place_of,
    problems,
)
from serving.changes import Changes
from serving.events.service import Events
from serving.user_tower import UserTowers
from serving.versions import ServedVersion, VersionInUse

router = APIRouter(prefix="/v1")


async def _changes(request: Request, version: ServedVersion, user_id: Id | None) -> Changes | None:
    """Return what is known of a user beyond the version, where the service keeps events."""
    events: Events | None = request.app.state.events
    return None if events is None or user_id is None else await events.of_user(version.ranker.written(user_id))


async def _recommend(version: ServedVersion, asked: Asked) -> api.Recommendations:
    request = asked.request
    found = await version.recommend(asked.profile, request)
    following = None if request.diversity else cursor_behind(version, request.skip, len(found), request.n)
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
    body, headers = asked_of_user(request), dict[str, str]()
    version = answering(request, headers, body.user_id)
    changes = await _changes(request, version, body.user_id)
    kept: LRUCache[tuple, bytes] = request.app.state.lists
    until = None if changes is None else changes.until
    # What a list follows from, as it was validated: of a query string nothing bounds what is kept.
    asked = version.version, until, *vars(body).values()
    content = kept.get(asked)
    if content is None:
        answer = await _recommend(version, in_terms_of(version, body, "query", changes))
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
    openapi_extra=documented(api.RecommendationQuery, user_id=api.UserKey),
    route_class_override=Direct,
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
        version = answering(request, response.headers, body.user_id)
    changes = await _changes(request, version, body.user_id)
    return await _recommend(version, in_terms_of(version, body, "body", changes))


@router.post("/recommendations:batch", responses=problems(400, 413), tags=["recommendations"])
async def recommend_to_many(request: Request, version: Served, body: api.BatchRequest) -> api.BatchAnswers:
    """Answer up to a hundred requests, each as `/v1/recommendations` would, all by the same version.

    A request that names an unknown user, movie or genre has its error in its place among the answers.
    """
    asked: list[Asked | str] = []
    for place, each in enumerate(body.requests):
        try:
            changes = await _changes(request, version, each.user_id)
            asked.append(in_terms_of(version, each, f"body.requests.{place}", changes))
        except (RequestError, UnknownIdError) as error:
            asked.append(f"{error.field}: {error}" if isinstance(error, RequestError) else str(error))
    fitting = [each for each in asked if isinstance(each, Asked)]
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
    begin = place_of(version, cursor, "query.cursor")
    history = version.ranker.history(user_id, await _changes(request, version, user_id))
    by = [f.RATING, f.TIMESTAMP] if order == "best" else [f.TIMESTAMP]
    page = history.sort(*by, f.MOVIE_ID, descending=[*(True for _ in by), False])[begin : begin + n]
    return api.UserRatings(
        model_version=version.version,
        total=history.height,
        ratings=[RatedMovie(*row) for row in page.select(f.MOVIE_ID, TITLE, f.RATING).iter_rows()],
        next_cursor=cursor_behind(version, begin, page.height, n) if begin + page.height < history.height else None,
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

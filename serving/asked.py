"""What a request asks for, checked, in the terms of the version that answers it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.datastructures import MutableHeaders

from serving import api_models as api
from serving.answers import PERSONAL, POPULAR, Id, Profile
from serving.answers import Request as RankRequest
from serving.changes import Changes
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
    return answering(request, response.headers, request.path_params.get("user_id"))


def answering(request: Request, headers: MutableHeaders | dict[str, str], user_id: Id | None) -> ServedVersion:
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
    """Return the names of a route's query parameters, those that FastAPI reads and those of `documented`."""
    documented = (route.openapi_extra or {}).get("parameters", [])
    own = [each["name"] for each in documented if each["in"] == "query"]
    return sorted([field.alias for field in route.dependant.query_params] + own)


def documented(query: type[BaseModel], **path: Any) -> dict[str, Any]:
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


class Direct(APIRoute):
    """A route that FastAPI describes, and whose endpoint makes the response of the request by itself."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint."""
        return self.endpoint


def check_rating(version: ServedVersion, rating: float, field: str) -> None:
    """Raise RequestError unless a rating is on the data's scale."""
    scale = version.ranker.domain.scale
    if not scale.min <= rating <= scale.max:
        raise RequestError(field, f"expected {scale.min:g} to {scale.max:g}")


def asked_of_user(request: Request) -> api.RecommendationRequest:
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


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request in the terms of the version in use."""

    profile: Profile
    request: RankRequest
    ignored: list[Id]

    @property
    def source(self) -> Literal["personal", "popular"]:
        """What the list is made by; see `serving.answers`."""
        return PERSONAL if len(self.profile.rows) else POPULAR


def in_terms_of(
    version: ServedVersion, body: api.RecommendationRequest, where: str, changes: Changes | None = None
) -> Asked:
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
        skip=place_of(version, body.cursor, f"{where}.cursor"),
        only_movie_ids=None if only is None else tuple(only),
    )
    ignored = list(dict.fromkeys([*unknown, *unknown_excluded, *unknown_only]))
    profile = version.known(body.user_id, changes) if body.user_id is not None else ranker.profile(ratings=ratings)
    return Asked(profile, request, ignored)


def place_of(version: ServedVersion, cursor: str | None, field: str) -> int:
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


def cursor_behind(version: ServedVersion, begin: int, found: int, wanted: int) -> str | None:
    """Return the cursor of the page behind one that is full."""
    return f"{version.version}-{begin + found}" if found == wanted else None

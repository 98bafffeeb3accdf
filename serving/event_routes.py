"""Routes that take what users do; a service has them where it keeps events."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from serving import api_models as api
from serving.answers import Id
from serving.asked import MoviePath, RequestError, Served, UserPath, check_rating, problems, version_of
from serving.events import model as m
from serving.events.service import Events
from serving.versions import ServedVersion

router = APIRouter(prefix="/v1")
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1, max_length=api.LONGEST_KEY, description="Sent again with the same one, it is not counted again"
    ),
]


def _events(request: Request) -> Events:
    events: Events = request.app.state.events
    return events


def _event(
    version: ServedVersion,
    user_id: Id,
    kind: m.Kind,
    movie_id: Id | None = None,
    rating: float | None = None,
    key: str | None = None,
    at_s: int | None = None,
    model_version: int | None = None,
) -> m.Event:
    ranker = version.ranker
    if movie_id is not None:
        ranker.rows([movie_id])
    return m.Event(
        key=key or uuid.uuid4().hex,
        user_id=ranker.written(user_id),
        kind=kind,
        at_s=int(time.time()) if at_s is None else at_s,
        movie_id=None if movie_id is None else ranker.written_movie(movie_id),
        rating=rating,
        model_version=version.version if model_version is None else model_version,
    )


@router.put("/users/{user_id}/ratings/{movie_id}", responses=problems(400, 404, 413), tags=["events"])
async def rate(
    request: Request,
    version: Served,
    user_id: UserPath,
    movie_id: MoviePath,
    body: api.NewRating,
    idempotency_key: IdempotencyKey = None,
) -> api.Kept:
    """Rate a movie, or rate it anew; the user's next list counts it. The user need not be known."""
    check_rating(version, body.rating, "body.rating")
    event = _event(version, user_id, m.RATING, movie_id, body.rating, idempotency_key, body.at_s)
    return await _keep(request, version, [event])


@router.delete("/users/{user_id}/ratings/{movie_id}", responses=problems(404), tags=["events"])
async def withdraw(
    request: Request,
    version: Served,
    user_id: UserPath,
    movie_id: MoviePath,
    idempotency_key: IdempotencyKey = None,
) -> api.Kept:
    """Take a rating back, one of the version in use or a later one: the movie may be recommended again."""
    return await _keep(request, version, [_event(version, user_id, m.WITHDRAWN, movie_id, key=idempotency_key)])


@router.delete("/users/{user_id}", responses=problems(404), status_code=204, tags=["events"])
async def forget(request: Request, version: Served, user_id: UserPath) -> Response:
    """Forget a user: at once here, and in the files of the next version that is made of these events."""
    await _events(request).add([_event(version, user_id, m.FORGET)])
    return Response(status_code=204)


@router.post("/events", responses=problems(400, 404, 413), tags=["events"])
async def take_events(request: Request, version: Served, body: api.NewEvents) -> api.Kept:
    """Keep up to a hundred events, all of them or none; what is answered is on the disk."""
    events = []
    for place, each in enumerate(body.events):
        where = f"body.events.{place}"
        if (each.rating is not None) != (each.kind == m.RATING):
            raise RequestError(f"{where}.rating", "a rating has one, other kinds have none")
        if each.rating is not None:
            check_rating(version, each.rating, f"{where}.rating")
        given = each.movie_id, each.rating, each.key, each.at_s, each.model_version
        events.append(_event(version_of(request, each.user_id), each.user_id, each.kind, *given))
    return await _keep(request, version, events)


async def _keep(request: Request, version: ServedVersion, events: Sequence[m.Event]) -> api.Kept:
    new = await _events(request).add(events)
    return api.Kept(model_version=version.version, kept=sum(new), repeated=len(new) - sum(new))

"""What the service takes and answers, as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, field_validator, model_validator
from starlette.responses import JSONResponse
from starlette.types import Scope

from schemas.domain import Scale
from serving.answers import Id, Movie, MovieFilter, RatedMovie, Recommendation, SimilarMovie
from serving.events.model import Told

_LONGEST_ID = 300
_Number = Annotated[int, Field(ge=0, lt=2**63)]
_Text = Annotated[str, Field(min_length=1, max_length=_LONGEST_ID)]
MovieId = Annotated[
    _Number | _Text, Field(description="The movie's id as the data has it: MovieLens' movieId", examples=[1])
]
UserKey = Annotated[_Text, Field(description="The user's id as the data has it: MovieLens' userId", examples=["42"])]
MovieKey = Annotated[_Text, Field(description="The movie's id as the data has it: MovieLens' movieId", examples=["1"])]
Cursor = Annotated[
    str,
    Field(pattern=r"^\d{1,19}-\d{1,9}$", description="`next_cursor` of the page before; all else must be the same"),
]
NextCursor = Annotated[
    str | None, Field(description="Pass it as `cursor` for the next page; null after the last, and with diversity")
]
Genre = Annotated[_Text, Field(description="One of those that /v1/model lists")]
Year = Annotated[int, Field(ge=-10_000, le=10_000)]
Diversity = Annotated[float, Field(ge=0, le=1, description="0: by score alone; up to 1: pass over similar movies")]

LONGEST_KEY = 200
EventKey = Annotated[
    str,
    Field(min_length=1, max_length=LONGEST_KEY, description="Of one user no two events have the same: a UUID"),
]
EventTime = Annotated[int, Field(ge=0, lt=2**63, description="When, Unix seconds; now by default")]
MAX_N = 100
MAX_BATCH = 100
MAX_RATINGS = 1_000
MAX_EXCLUDED = 10_000
MAX_GENRES = 500
MAX_ERRORS = 20
"""Wrong fields that an answer names."""
_LONGEST_NAME = 100
_KINDS_OF_IDS = ("constrained-int", "constrained-str")
"""What pydantic adds to the place of an id that is neither."""


class Answer(BaseModel):
    """Every answer names the version that it comes from."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: int


class Recommendations(Answer):
    """Recommended movies, best first."""

    source: Annotated[
        Literal["personal", "popular"],
        Field(description="popular: nothing is known of the user, most rated movies instead"),
    ]
    recommendations: list[Recommendation]
    ignored_movie_ids: Annotated[
        list[Id], Field(description="Movies of the request that the version in use does not hold")
    ] = []
    next_cursor: NextCursor = None


class BatchAnswer(BaseModel):
    """The answer to one request of a batch, or why there is none."""

    source: Literal["personal", "popular"] | None = None
    recommendations: list[Recommendation] = []
    ignored_movie_ids: list[Id] = []
    error: Annotated[str | None, Field(description="Why this request has no answer; the others have theirs")] = None


class BatchAnswers(Answer):
    """Answers in the order of the requests."""

    answers: list[BatchAnswer]


class MovieAnswer(Answer):
    """One movie."""

    movie: Movie


class Movies(Answer):
    """Movies that match a title."""

    movies: list[Movie]


class SimilarMovies(Answer):
    """Movies close to another one, closest first."""

    movies: list[SimilarMovie]


class UserRatings(Answer):
    """What a known user has rated."""

    total: Annotated[int, Field(description="How many in all")]
    ratings: list[RatedMovie]
    next_cursor: NextCursor = None


class ModelInfo(Answer):
    """The version in use."""

    created_s: Annotated[int, Field(description="Unix time of the publication in seconds")]
    movies: int
    users: int
    ratings: int
    genres: Annotated[list[str], Field(description="Every category, of films the genres")]
    scale: Annotated[Scale, Field(description="Of the ratings that are taken and predicted")]
    timed: Annotated[bool, Field(description="Whether the ratings have a time")]
    example_user_ids: list[Id]


class _Known(BaseModel):
    """Takes no field that it does not know, and names a few of them."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_unknown(cls, values: Any) -> Any:
        # An error for each of a hundred thousand fields would take seconds to word.
        if not isinstance(values, dict) or len(values) <= len(cls.model_fields) + MAX_ERRORS:
            return values
        unknown = itertools.islice((name for name in values if name not in cls.model_fields), MAX_ERRORS)
        names = [*unknown, *(name for name in cls.model_fields if name in values)]
        return {name: values[name] for name in names}


class Rating(_Known):
    """A movie and the rating that a user gives it."""

    movie_id: MovieId
    rating: Annotated[
        float, Field(allow_inf_nan=False, description="On the scale that /v1/model names: of MovieLens 0.5 to 5")
    ]


class _FirstError(FailFast):
    """Usable in a union, whose parts Python wants to hash."""

    __hash__ = object.__hash__


class _Wanted(BaseModel):
    n: Annotated[int, Field(ge=1, le=MAX_N, description="How many movies")] = 10
    year_min: Year | None = None
    year_max: Year | None = None
    diversity: Diversity = 0.0
    # Tuples, as pydantic makes a deep copy of a default that is a list for every request.
    genres: Annotated[
        tuple[Genre, ...], FailFast(), Field(max_length=MAX_GENRES, description="Any of these, in any case")
    ] = ()
    cursor: Cursor | None = None

    def filter(self) -> MovieFilter:
        """Return which movies may be recommended."""
        return MovieFilter(self.genres, self.year_min, self.year_max)


class RecommendationQuery(_Wanted):
    """What a known user wants."""


class RecommendationRequest(_Known, _Wanted):
    """Who asks, a known user or a new one with a few ratings, and what they want."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"ratings": [{"movie_id": 1, "rating": 5}, {"movie_id": 260, "rating": 4.5}], "n": 10},
                {"user_id": "42", "genres": ["Comedy"], "year_min": 1990},
            ]
        }
    )

    user_id: Annotated[UserKey | None, Field(description="A known user, in place of ratings")] = None
    ratings: Annotated[
        tuple[Rating, ...], FailFast(), Field(max_length=MAX_RATINGS, description="None: the popularity list")
    ] = ()
    exclude_movie_ids: Annotated[
        tuple[MovieId, ...], FailFast(), Field(max_length=MAX_EXCLUDED, description="Not these, beside the rated ones")
    ] = ()
    only_movie_ids: Annotated[
        Annotated[list[MovieId], _FirstError(), Field(min_length=1, max_length=MAX_EXCLUDED)] | None,
        Field(description="Choose from these alone; from all by default"),
    ] = None

    @field_validator("ratings")
    @classmethod
    def _once(cls, ratings: tuple[Rating, ...]) -> tuple[Rating, ...]:
        if len({rating.movie_id for rating in ratings}) < len(ratings):
            raise ValueError("a movie is rated twice; pass each movie once")
        return ratings

    @model_validator(mode="after")
    def _one_user(self) -> RecommendationRequest:
        if self.user_id is not None and self.ratings:
            raise ValueError("pass either user_id or ratings")
        return self


class BatchRequest(_Known):
    """Several requests at once."""

    requests: Annotated[
        list[RecommendationRequest], FailFast(), Field(min_length=1, max_length=MAX_BATCH, description="Each by itself")
    ]


class NewRating(_Known):
    """A rating that a user gives."""

    rating: Annotated[
        float, Field(allow_inf_nan=False, description="On the scale that /v1/model names: of MovieLens 0.5 to 5")
    ]
    at_s: EventTime | None = None


class NewEvent(_Known):
    """Something that a user did."""

    key: EventKey
    user_id: UserKey
    kind: Annotated[
        Told,
        Field(description="impression: it was shown; click: it was chosen; seen and not_for_me: not to be shown again"),
    ]
    movie_id: MovieId
    rating: Annotated[float | None, Field(allow_inf_nan=False, description="Of a rating alone")] = None
    at_s: EventTime | None = None
    model_version: Annotated[
        int | None, Field(ge=0, lt=2**63, description="Of the answer that the user saw; the one in use by default")
    ] = None


class NewEvents(_Known):
    """Several events."""

    events: Annotated[list[NewEvent], FailFast(), Field(min_length=1, max_length=MAX_BATCH)]


class Kept(Answer):
    """What was done with events."""

    kept: Annotated[int, Field(description="How many are new, and on the disk now")]
    repeated: Annotated[int, Field(description="How many were there before, by their keys")]


class FieldError(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str
    request_id: str
    errors: Annotated[list[FieldError], Field(description="The fields that are wrong, of status 422")] = []


def field_errors(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Word a few of a validation's errors, of each field the first."""
    found: dict[str, FieldError] = {}
    for error in errors:
        field = ".".join(str(part)[:_LONGEST_NAME] for part in error["loc"] if part not in _KINDS_OF_IDS)
        found.setdefault(field, FieldError(field=field, message=error["msg"]))
        if len(found) == MAX_ERRORS:
            break
    return list(found.values())


def problem(
    scope: Scope,
    status: int,
    detail: str,
    errors: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the answer to a request that is not answered otherwise."""
    body = Problem(detail=detail, request_id=scope["state"]["request_id"], errors=list(errors))
    return JSONResponse(body.model_dump(), status, headers)


class Health(BaseModel):
    """Whether the process works."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether requests can be answered."""

    ready: bool
    model_version: int | None
    problem: str = ""

    model_config = ConfigDict(protected_namespaces=())

"""Events as the next span of a data set: ratings, and what was taken back."""

from __future__ import annotations

import dataclasses
import json
import re
import uuid

import fsspec
import polars as pl

from schemas.data_spec import DataSpec
from schemas.ingest import SPAN, WITHDRAWN_COLUMNS, WITHDRAWN_FILE
from serving.events.model import FORGET, RATING, WITHDRAWN, Event
from serving.events.store import EventStore

_UNTIL_FILE = "events.json"
_SPAN = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written."""

    directory: str | None
    """The span's; None where nothing is new."""
    ratings: int = 0
    withdrawn: int = 0
    """Ratings that were taken back."""
    forgotten: int = 0
    """Users."""


def export(store: EventStore, data: str, spec: DataSpec) -> Exported:
    """Write what came after the latest export as one span more.

    A span says up to which event it goes, so that nothing is exported twice or left out, and on a file system it
    appears at once.

    Args:
      store: The events.
      data: Path or URI of a directory with `{SPAN}` as its last part, as `matinee run --data` takes it.
      spec: How the data set is written; its ratings must be text.

    Raises:
      ValueError: The path has no such part, or ratings are not written as text with a rating.
      EventStoreError: The events cannot be read.
    """
    base, _, rest = data.rstrip("/").rpartition(f"/{SPAN}")
    if not base or rest:
        raise ValueError(f"{data!r} does not end in /{SPAN}; pass such a path, which matinee run --data takes as well")
    of = spec.ratings
    if of.format == "parquet" or of.header or of.rating is None or len(of.separator) > 1:
        raise ValueError("events are exported as text with a header and a rating: pass a --data-spec of such data")
    fs, root = fsspec.core.url_to_fs(base)
    names = [path.rstrip("/").rsplit("/", 1)[-1] for path in fs.ls(root, detail=False)] if fs.exists(root) else []
    spans = {int(name): name for name in names if _SPAN.fullmatch(name)}
    paths = [f"{root}/{name}/{_UNTIL_FILE}" for name in spans.values()]
    until = max((json.loads(fs.cat_file(path))["until"] for path in paths if fs.exists(path)), default=0)
    numbered = [*store.all(until, (RATING, WITHDRAWN, FORGET), settled=True)]
    if not numbered:
        return Exported(None)
    ratings, withdrawn, forgotten = _latest([event for _, event in numbered])
    number = max(spans, default=0) + 1
    width = max((len(name) for name in spans.values()), default=1)
    staged, target = f"{root}/.staging-{uuid.uuid4().hex}", f"{root}/{number:0{width}d}"
    fs.makedirs(staged)
    try:
        fs.pipe_file(f"{staged}/{_UNTIL_FILE}", json.dumps({"until": numbered[-1][0]}).encode())
        rows = [*(((user, None), at_s) for user, at_s in forgotten.items()), *withdrawn.items()]
        if rows:
            schema = dict(zip(WITHDRAWN_COLUMNS, (pl.String, pl.String, pl.Int64), strict=True))
            table = pl.DataFrame([(*place, at_s) for place, at_s in rows], schema, orient="row")
            fs.pipe_file(f"{staged}/{WITHDRAWN_FILE}", table.write_csv().encode())
        table = pl.DataFrame(
            {
                of.user: [event.user_id for event in ratings],
                of.item: [event.movie_id for event in ratings],
                of.rating: [event.rating for event in ratings],
            },
            {of.user: pl.String, of.item: pl.String, of.rating: pl.Float64},
        )
        if of.time:
            table = table.with_columns(_written([event.at_s for event in ratings], of.time_format).alias(of.time))
        text = table.write_csv(separator=of.separator, quote_char=of.quote or '"')
        fs.pipe_file(f"{staged}/{_file_name(of.files[0])}", text.encode(of.encoding))
        fs.mv(staged, target, recursive=True)
    except BaseException:
        if fs.exists(staged):
            fs.rm(staged, recursive=True)
        raise
    return Exported(f"{base}/{number:0{width}d}", len(ratings), len(withdrawn), len(forgotten))


def _latest(
    events: list[Event],
) -> tuple[list[Event], dict[tuple[str, str | None], int], dict[str, int]]:
    """Return the ratings that stand, what was taken back and who was forgotten, with the times up to which."""
    ratings: dict[tuple[str, str | None], Event] = {}
    withdrawn: dict[tuple[str, str | None], int] = {}
    forgotten: dict[str, int] = {}
    for event in events:
        place = event.user_id, event.movie_id
        if event.kind == FORGET:
            ratings = {key: other for key, other in ratings.items() if key[0] != event.user_id}
            forgotten[event.user_id] = event.at_s
        elif event.kind == WITHDRAWN:
            # What was rated in an earlier span goes as well, and the clock may have gone back since.
            before = ratings.pop(place, None)
            withdrawn[place] = max(event.at_s, before.at_s if before else 0)
        else:
            ratings.pop(place, None)
            withdrawn.pop(place, None)  # The later rating of a movie counts anyway.
            gone = forgotten.get(event.user_id, -1)
            ratings[place] = dataclasses.replace(event, at_s=max(event.at_s, gone + 1))
    return [*ratings.values()], withdrawn, forgotten


def _written(times: list[int], form: str) -> pl.Series:
    """Return times as the data set writes them."""
    seconds = pl.Series(times, dtype=pl.Int64)
    if form in ("s", "ms", "us", "ns"):
        return seconds * 10 ** {"s": 0, "ms": 3, "us": 6, "ns": 9}[form]
    moments = pl.from_epoch(seconds, "s")
    return moments.dt.to_string("iso:strict" if form == "iso" else form)


def _file_name(pattern: str) -> str:
    name = "ratings.csv" if any(mark in pattern for mark in "*?[") else pattern
    return name if "." in name else f"{name}.csv"

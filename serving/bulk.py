"""Lists for everybody: the best movies of every known user, a table in parts, with which a stopped job goes on."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import fsspec
import polars as pl

from schemas import features as f
from serving.answers import Id, Request, UnknownIdError
from serving.recommender import Recommender

RANK, SCORE, PREDICTED = "rank", "score", "predicted_rating"
JOB_FILE, SUCCESS_FILE = "_job.json", "_SUCCESS"
"""Readers of a directory of parts pass over names that begin so."""
_BLOCK = 1024
"""Users of a part."""
_LISTED = 10
"""Unknown users that an error names."""


@dataclasses.dataclass(frozen=True)
class Bulk:
    """What a job has written."""

    users: int
    rows: int
    """Of the parts that were written now; those of before are not counted."""
    parts: int
    kept: int
    """Parts that an earlier job had written."""


def recommend_all(
    recommender: Recommender,
    output: str,
    user_ids: Sequence[Id] | None = None,
    request: Request | None = None,
    on_users: Callable[[int], object] = lambda users: None,
    threads: int | None = None,
) -> Bulk:
    """Write the lists of many users as Parquet: `user_id`, `rank` from 1, `movie_id`, `score` and `predicted_rating`.

    A part has 1,024 users and appears whole. A job that was stopped goes on where it was if it is started again with
    the same version, users and request.

    Args:
      recommender: The version to ask.
      output: Directory for the parts, path or URI; made if missing.
      user_ids: Known users; all of them by default.
      request: What is wanted of each; 100 movies by default.
      on_users: Called with the number of users of each part that is done, in the thread that calls.
      threads: How many parts are computed at once; the number of cores by default.

    Raises:
      ValueError: The directory holds something else, or the request is out of range; of the kind `UnknownIdError`, a
        user is unknown.
    """
    known = recommender.user_ids.tolist()
    users = known if user_ids is None else _as_known(recommender, known, user_ids)
    wanted = request or Request(n=min(100, recommender.movies.height))
    fs, root = fsspec.core.url_to_fs(output)
    root = root.rstrip("/")
    _begin(fs, root, _job(recommender, users, wanted))
    places = {f"{root}/part-{begin // _BLOCK:05d}.parquet": begin for begin in range(0, len(users), _BLOCK)}
    there = set(fs.ls(root, detail=False))
    left = {name: begin for name, begin in places.items() if name not in there}

    def write(name: str, begin: int) -> tuple[int, int]:
        part = users[begin : begin + _BLOCK]
        lists = _lists(recommender, part, wanted)
        _put(fs, name, lists)
        return len(part), lists.height

    on_users(sum(len(users[begin : begin + _BLOCK]) for name, begin in places.items() if name in there))
    rows, pool = 0, concurrent.futures.ThreadPoolExecutor(threads or os.cpu_count())
    try:
        for done in concurrent.futures.as_completed([pool.submit(write, *each) for each in left.items()]):
            number, written = done.result()
            rows += written
            on_users(number)
    finally:
        pool.shutdown(cancel_futures=True)
    fs.pipe_file(f"{root}/{SUCCESS_FILE}", b"")
    return Bulk(len(users), rows, len(places), len(places) - len(left))


def _as_known(recommender: Recommender, known: Sequence[Id], users: Sequence[Id]) -> list[Id]:
    """Return users as the data has them: those of a file are text."""
    places = {str(user): user for user in known}
    unknown = [str(user) for user in users if str(user) not in places]
    if unknown:
        more = "" if len(unknown) <= _LISTED else " and others"
        raise UnknownIdError(
            f"{len(unknown):,} of {len(users):,} users are unknown to version {recommender.model_version}: "
            f"{', '.join(unknown[:_LISTED])}{more}; leave them out"
        )
    return [places[str(user)] for user in users]


def _job(recommender: Recommender, users: Sequence[Id], request: Request) -> dict[str, Any]:
    """Return what the parts of one job have in common, as JSON gives it back."""
    digest = hashlib.sha256("\n".join(map(str, users)).encode()).hexdigest()
    job = {
        "version": recommender.model_version,
        "users": digest,
        "block": _BLOCK,
        "request": dataclasses.asdict(request),
    }
    found: dict[str, Any] = json.loads(json.dumps(job))
    return found


def _begin(fs: fsspec.AbstractFileSystem, root: str, job: dict[str, Any]) -> None:
    """Make the directory of a job, or go on with it."""
    if fs.exists(root) and not fs.isdir(root):
        raise ValueError(f"{root} is a file; pass a directory for the lists")
    fs.makedirs(root, exist_ok=True)
    mark = f"{root}/{JOB_FILE}"
    if fs.exists(mark):
        if json.loads(fs.cat_file(mark)) != job:
            raise ValueError(
                f"{root} holds lists of another version, of other users or of another request; pass another --output"
            )
    elif fs.ls(root, detail=False):
        raise ValueError(f"{root} is not empty and holds no lists; pass another --output")
    else:
        fs.pipe_file(mark, json.dumps(job, indent=1).encode())


def _lists(recommender: Recommender, users: Sequence[Id], request: Request) -> pl.DataFrame:
    found = recommender.lists(users, request)
    return pl.DataFrame(
        {
            f.USER_ID: pl.Series([user for user, each in zip(users, found, strict=True) for _ in each.keys]),
            RANK: pl.Series([place for each in found for place in range(1, len(each.keys) + 1)], dtype=pl.Int16),
            f.MOVIE_ID: pl.Series([key for each in found for key in each.keys]),
            SCORE: pl.concat([pl.Series(each.scores, dtype=pl.Float32) for each in found]),
            PREDICTED: pl.concat([pl.Series(each.stars, dtype=pl.Float32) for each in found]),
        }
    )


def _put(fs: fsspec.AbstractFileSystem, name: str, lists: pl.DataFrame) -> None:
    """Write a part under another name first, where names can be changed."""
    lists.write_parquet(buffer := io.BytesIO())
    staged = name.replace("/part-", "/_part-")
    fs.pipe_file(staged, buffer.getvalue())
    fs.mv(staged, name)

"""Commands that ask a served version: recommendations, search, similar movies, users, versions."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import click
import typer
from pydantic import TypeAdapter
from rich.table import Table

from pipeline.artifacts import DEFAULT_SERVING

ServingDir = Annotated[str, typer.Option(help="Path or URI of the served versions")]
Version = Annotated[int | None, typer.Option(help="Version to ask", show_default="the newest")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of a table")]
Count = Annotated[int, typer.Option("--n", "-n", min=1, help="How many")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    for command in (recommend, recommend_all, search, similar, users, versions, compare, export):
        app.command()(command)


def recommend(
    user: Annotated[str | None, typer.Option(help="A known user's id")] = None,
    rate: Annotated[
        str | None, typer.Option(help='A new user\'s ratings, "movie:rating,movie:rating"; a movie is an id or a title')
    ] = None,
    n: Count = 10,
    serving_dir: ServingDir = DEFAULT_SERVING,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Recommend movies to a known user, or to a new one from a few ratings."""
    if (user is None) == (rate is None):
        raise ValueError('pass either --user ID or --rate "movie:rating,movie:rating"')
    rated = None if rate is None else parse_ratings(rate)
    from pipeline.terminal import silenced
    from serving.console import print_recommendations, terminal_console
    from serving.recommender import Recommender

    with silenced():
        recommender = Recommender.load(serving_dir, version)
    ratings = None if rated is None else _known(recommender, rated)
    if as_json:
        print_json(recommender.recommend(user, ratings, n))
    else:
        print_recommendations(terminal_console(), recommender, user, ratings, n)


def recommend_all(
    output: Annotated[str, typer.Option(help="Directory for the lists, path or URI: Parquet in parts")],
    users: Annotated[
        pathlib.Path | None, typer.Option(help="File with the ids of known users, one a line", show_default="all")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many movies each")] = 100,
    genre: Annotated[list[str] | None, typer.Option(help="Any of these; repeatable", show_default="all")] = None,
    year_min: Annotated[int | None, typer.Option(help="Released in this year or later", show_default="all")] = None,
    year_max: Annotated[int | None, typer.Option(help="Released in this year or earlier", show_default="all")] = None,
    serving_dir: ServingDir = DEFAULT_SERVING,
    version: Version = None,
) -> None:
    """Write the lists of every known user; a job that was stopped goes on where it was."""
    from rich.progress import Progress

    from serving.answers import MovieFilter, Request
    from serving.bulk import recommend_all as write
    from serving.console import terminal_console
    from serving.recommender import Recommender

    recommender = Recommender.load(serving_dir, version)
    wanted = (
        [line.strip() for line in users.read_text(encoding="utf-8").splitlines() if line.strip()] if users else None
    )
    request = Request(n=min(n, recommender.movies.height), filter=MovieFilter(tuple(genre or ()), year_min, year_max))
    with Progress(console=terminal_console(stderr=True)) as progress:
        task = progress.add_task("users", total=len(recommender.user_ids if wanted is None else wanted))
        done = write(recommender, output, wanted, request, lambda number: progress.advance(task, number))
    kept = f", {done.kept:,} of them were there" if done.kept else ""
    typer.echo(f"{output}: {done.users:,} users, {done.parts:,} parts{kept}, version {recommender.model_version}")


def search(
    query: Annotated[str, typer.Argument(help="Words of a title; without any, the most rated movies")] = "",
    n: Count = 10,
    serving_dir: ServingDir = DEFAULT_SERVING,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Search the served movies by title."""
    from serving.console import movie_table

    _show(_ranker(serving_dir, version).find_movies(query, n), movie_table, f"Movies like {query!r}", as_json)


def similar(
    movie: Annotated[str, typer.Argument(help="A movie's id or title")],
    n: Count = 10,
    serving_dir: ServingDir = DEFAULT_SERVING,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """List the movies most similar to one."""
    from serving.console import similar_table

    ranker = _ranker(serving_dir, version)
    key = _movie(ranker, movie)
    _show(ranker.similar_movies(key, n), similar_table, f"Similar to {ranker.movie(key).title}", as_json)


def users(
    n: Count = 10,
    serving_dir: ServingDir = DEFAULT_SERVING,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """List known users, the first by their ids."""
    ranker = _ranker(serving_dir, version)
    found = ranker.user_ids[:n].tolist()
    if as_json:
        print_json(found)
        return
    typer.echo("\n".join(map(str, found)))
    typer.echo(f"{len(found):,} of {len(ranker.user_ids):,} users", err=True)


def versions(serving_dir: ServingDir = DEFAULT_SERVING, as_json: AsJson = False) -> None:
    """List the served versions, the newest last."""
    from serving.store import ServingStore

    found = ServingStore(serving_dir).versions()
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(map(str, found)) or f"no model is published under {serving_dir}")


def compare(
    events: Annotated[str, typer.Option(help="The service's: a SQLite file or postgresql://user@host/database")],
    serving_dir: ServingDir = DEFAULT_SERVING,
    version: Annotated[int | None, typer.Option(help="The one that is tried", show_default="of the last two")] = None,
    against: Annotated[int | None, typer.Option(help="The other one", show_default="of the last two")] = None,
    liked: Annotated[float, typer.Option(help="Rating from which on a movie is liked")] = 4.0,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="How often a difference may be found where there is none")
    ] = 0.05,
    auto: Annotated[
        bool, typer.Option("--auto", help="Have the services take the version for all, or for nobody, once decided")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two versions by what users did with their lists; look as often as you like."""
    from serving.canary import decide
    from serving.console import show, terminal_console
    from serving.events.compare import COUNTED, GO_ON, PROMOTE, latest_pair
    from serving.events.compare import compare as compared
    from serving.events.service import opened

    store = opened(events, is_there=True)
    store.upgrade()
    every = [event for _, event in store.all(kinds=COUNTED)]
    store.close()
    new, old = latest_pair(every) if version is None or against is None else (version, against)
    found = compared(every, new, old, liked, alpha)
    if as_json:
        print_json(found)
    else:
        table = Table("", "version", "users", "impressions", "interactions", "rate")
        for name, arm in (("tried", found.new), ("against", found.old)):
            counts = (f"{count:,}" for count in (arm.users, arm.impressions, arm.interactions))
            table.add_row(name, str(arm.version), *counts, f"{arm.rate:.4f}")
        show(terminal_console(), table)
        typer.echo(
            f"difference {found.difference:+.4f}, between {found.low:+.4f} and {found.high:+.4f} at all times; "
            f"p {found.p_value:.3g}, always valid: {found.decision}"
        )
    if auto and found.decision != GO_ON:
        share = 1.0 if found.decision == PROMOTE else 0.0
        decide(serving_dir, new, share, f"{found.decision}: {found.difference:+.4f}, p {found.p_value:.3g}")
        typer.echo(f"{new} is for {'everybody' if share else 'nobody'} from now on", err=True)


def export(
    to: Annotated[str, typer.Option(help="Directory of the model's versions, as TensorFlow Serving watches it")],
    serving_dir: ServingDir = DEFAULT_SERVING,
    version: Version = None,
) -> None:
    """Write a served version as one SavedModel: ratings in, movies out, in TensorFlow Serving without this service."""
    from pipeline.terminal import silenced

    with silenced():
        from components.recommender_model import export_recommender

        written = export_recommender(serving_dir, to, version)
    typer.echo(f"{written}: signature recommend of movies, ratings, masked_movies, n and asked_s")


def parse_ratings(text: str) -> list[tuple[str, float]]:
    """Parse "movie:rating,movie:rating"; an empty text is no ratings.

    A title may have commas and colons of its own: a part ends with a colon and a number.

    Raises:
      ValueError: A part is not of this form.
    """
    pairs, begun = [], ""
    for part in text.split(","):
        begun = f"{begun},{part}" if begun else part
        movie, _, rating = begun.rpartition(":")
        try:
            pairs.append((movie.strip(), float(rating)))
        except ValueError:
            continue
        if not movie.strip():
            break
        begun = ""
    if begun.strip():
        raise ValueError(f'--rate: {begun.strip()!r} is not of the form movie:rating, such as "1:5,Toy Story:4.5"')
    return pairs


def _ranker(serving_dir: str, version: int | None) -> Any:
    """Load what needs no user tower: TensorFlow takes seconds to import."""
    from serving.catalogue import PreparedIndex
    from serving.ranker import Ranker
    from serving.store import ServingStore

    store = ServingStore(serving_dir)
    return Ranker(PreparedIndex.read(store, store.resolve(version)))


def _known(ranker: Any, rated: Sequence[tuple[str, float]]) -> list[tuple[Any, float]]:
    """Return the ratings of movies that the version holds, and say which ones it does not.

    Raises:
      UnknownIdError: It holds none.
    """
    from serving.answers import UnknownIdError

    known, unknown = [], []
    for text, stars in rated:
        try:
            known.append((_movie(ranker, text), stars))
        except UnknownIdError as error:
            unknown.append((text, error))
    if unknown and not known:
        raise unknown[0][1]
    if unknown:
        typer.echo(f"ignored, unknown movies: {', '.join(text for text, _ in unknown)}", err=True)
    return known


def _movie(ranker: Any, text: str) -> Any:
    """Return the id of the movie that is meant by an id or a title; ask back where it may be one of several.

    Raises:
      UnknownIdError: No movie is.
      AmbiguousTitleError: Several may be, and there is no terminal to ask at.
    """
    from serving.answers import AmbiguousTitleError

    try:
        return ranker.movie_called(text).movie_id
    except AmbiguousTitleError as error:
        if not sys.stdin.isatty():
            raise
        found = error.movies
    for number, movie in enumerate(found, 1):
        typer.echo(f"{number} {movie.title}, id {movie.movie_id}", err=True)
    chosen = typer.prompt(f"Which {text!r}", type=click.IntRange(1, len(found)), err=True)
    return found[chosen - 1].movie_id


def _show(movies: Sequence[Any], table_of: Callable[[Sequence[Any], str], Table], title: str, as_json: bool) -> None:
    from serving.console import show, terminal_console

    if as_json:
        print_json(movies)
    else:
        show(terminal_console(), table_of(movies, title))


def print_json(value: Any) -> None:
    """Print an answer as JSON."""
    typer.echo(TypeAdapter(Any).dump_json(value, indent=1))

"""Recommendations as tables for the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # An error message needs no recommender.
    from serving.answers import Id, Movie, Recommendation, SimilarMovie
    from serving.recommender import Recommender

_PLAIN_WIDTH = 120
_SIGNS = {code: chr(0x2400 + code) for code in range(32)} | {127: "␡"} | dict.fromkeys(range(128, 160), "�")


def terminal_console(file: TextIO | None = None, stderr: bool = False) -> Console:
    """Return a console that prints text as text: titles, paths and messages have brackets and colons of their own.

    Args:
      file: Stream; standard output by default. Where it is no terminal, the console is wide, unless COLUMNS says how
        wide.
      stderr: Standard error instead.
    """
    console = Console(file=file, stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _PLAIN_WIDTH
    return console


def show(console: Console, table: Table) -> None:
    """Print a table; without lines where there is no terminal, for other programs to read."""
    if not console.is_terminal:
        table.box, table.pad_edge = None, False
    console.print(table)


def print_recommendations(
    console: Console,
    recommender: Recommender,
    user_id: Id | None = None,
    ratings: list[tuple[Id, float]] | None = None,
    n: int = 10,
) -> None:
    """Print recommendations to a known user, by default the first, or to a new one."""
    if ratings is not None:
        show(console, recommendation_table(recommender.recommend(ratings=ratings, n=n), "Recommendations"))
        return
    user_id = recommender.user_ids[:1].tolist()[0] if user_id is None else user_id
    recommendations = recommender.recommend(user_id=user_id, n=n)
    show(console, recommendation_table(recommendations, f"Recommendations for user {user_id}"))


def recommendation_table(recommendations: list[Recommendation], title: str) -> Table:
    """Lay recommendations out as a table, each with its reason."""
    stars = [f"{r.predicted_rating:.2f}" for r in recommendations]
    reasons = ["" if r.because is None else f"{r.because.title}  {r.because.rating:.4g}" for r in recommendations]
    return _table(recommendations, title, {"stars": stars}, {"because of": reasons})


def movie_table(movies: Sequence[Movie], title: str) -> Table:
    """Lay movies out as a table."""
    return _table(movies, title)


def similar_table(movies: Sequence[SimilarMovie], title: str) -> Table:
    """Lay similar movies out as a table, with how similar they are."""
    return _table(movies, title, {"similarity": [f"{movie.score:.2f}" for movie in movies]})


def _table(
    movies: Sequence[Movie],
    title: str,
    numbers: Mapping[str, Sequence[str]] = MappingProxyType({}),
    texts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Table:
    """Lay movies out as a table, with further columns: name -> a cell a movie."""
    table = Table(title=visible(title), title_justify="left")
    table.add_column("movie id", justify="right")
    # Folded: a long word would be cut.
    table.add_column("title", overflow="fold")
    table.add_column("genres", style="dim", overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    for name in texts:
        table.add_column(name, style="dim", overflow="fold")
    for movie, *cells in zip(movies, *numbers.values(), *texts.values(), strict=True):
        table.add_row(*map(visible, (str(movie.movie_id), movie.title, ", ".join(movie.genres), *cells)))
    return table


def visible(text: str) -> str:
    """Show control characters as signs for them, such as ␛: a terminal obeys them, whoever wrote them into a title."""
    return text.translate(_SIGNS)

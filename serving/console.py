"""Recommendations as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # An error message needs no recommender.
    from serving.answers import Id, Movie, Recommendation
    from serving.recommender import Recommender

_PLAIN_WIDTH = 120
_SIGNS = {code: chr(0x2400 + code) for code in range(32)} | {127: "␡"} | dict.fromkeys(range(128, 160), "�")


def terminal_console(file: TextIO | None = None, stderr: bool = False) -> Console:
    """Return a console that prints text as text: titles, paths and messages have brackets and colons of their own.

    Args:
      file: Stream; standard output by default. Where it is no terminal, the console is wide.
      stderr: Standard error instead.
    """
    console = Console(file=file, stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def print_recommendations(
    console: Console,
    recommender: Recommender,
    user_id: Id | None = None,
    ratings: list[tuple[Id, float]] | None = None,
    n: int = 10,
) -> None:
    """Print recommendations to a known user, by default the first, or to a new one."""
    if ratings is not None:
        console.print(recommendation_table(recommender.recommend(ratings=ratings, n=n), "Recommendations"))
        return
    user_id = recommender.user_ids[:1].tolist()[0] if user_id is None else user_id
    recommendations = recommender.recommend(user_id=user_id, n=n)
    console.print(recommendation_table(recommendations, f"Recommendations for user {user_id}"))


def recommendation_table(recommendations: list[Recommendation], title: str) -> Table:
    """Lay recommendations out as a table, each with its reason."""
    table = Table(title=visible(title), title_justify="left")
    table.add_column("movie id", justify="right")
    # Folded: a long word would be cut.
    table.add_column("title", overflow="fold")
    table.add_column("genres", style="dim", overflow="fold")
    table.add_column("stars", justify="right")
    table.add_column("because of", style="dim", overflow="fold")
    for r in recommendations:
        reason = "" if r.because is None else f"{r.because.title}  {r.because.rating:.4g}"
        row = visible(r.title), visible(", ".join(r.genres)), f"{r.predicted_rating:.2f}", visible(reason)
        table.add_row(str(r.movie_id), *row)
    return table


def movie_table(movies: Sequence[Movie], title: str) -> Table:
    """Lay movies out as a table, with their scores if they have any."""
    table = Table(title=visible(title), title_justify="left")
    table.add_column("movie id", justify="right")
    for name, style in (("title", None), ("genres", "dim")):
        table.add_column(name, style=style, overflow="fold")
    scores = [getattr(movie, "score", None) for movie in movies]
    if any(score is not None for score in scores):
        table.add_column("similarity", justify="right")
    for movie, score in zip(movies, scores, strict=True):
        last = [] if score is None else [f"{score:.2f}"]
        table.add_row(str(movie.movie_id), visible(movie.title), visible(", ".join(movie.genres)), *last)
    return table


def visible(text: str) -> str:
    """Show control characters as signs for them, such as ␛: a terminal obeys them, whoever wrote them into a title."""
    return text.translate(_SIGNS)

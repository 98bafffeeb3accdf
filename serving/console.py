"""Recommendations as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # An error message needs no recommender.
    from serving.answers import Id, Recommendation
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
    """Print recommendations, for a known user with their favourites beside them."""
    if ratings is not None:
        console.print(recommendation_table(recommender.recommend(ratings=ratings, n=n), "Recommendations"))
        return
    user_id = recommender.user_ids[:1].tolist()[0] if user_id is None else user_id
    recommendations = recommender.recommend(user_id=user_id, n=n)
    favourites = recommender.history(user_id).sort("rating", "timestamp", descending=True, nulls_last=True).head(n)
    liked = [f"{row['title']}  {row['rating']:.4g}" for row in favourites.iter_rows(named=True)]
    console.print(recommendation_table(recommendations, f"Recommendations for user {user_id}", liked))


def recommendation_table(
    recommendations: list[Recommendation], title: str, favourites: list[str] | None = None
) -> Table:
    """Lay recommendations out as a table, with a user's favourites in a last column."""
    table = Table(title=visible(title), title_justify="left")
    table.add_column("movie id", justify="right")
    # Folded: a long word would be cut.
    table.add_column("title", overflow="fold")
    table.add_column("genres", style="dim", overflow="fold")
    table.add_column("stars", justify="right")
    if favourites:
        table.add_column("rated highest so far", style="dim", overflow="fold")
    for i, r in enumerate(recommendations):
        last = [visible(favourites[i]) if i < len(favourites) else ""] if favourites else []
        row = visible(r.title), visible(", ".join(r.genres)), f"{r.predicted_rating:.2f}"
        table.add_row(str(r.movie_id), *row, *last)
    return table


def visible(text: str) -> str:
    """Show control characters as signs for them, such as ␛: a terminal obeys them, whoever wrote them into a title."""
    return text.translate(_SIGNS)

"""Search of the catalogue by title."""

from __future__ import annotations

import polars as pl

from schemas import features as f
from schemas.ingest import TITLE


def _fold(text: pl.Expr) -> pl.Expr:
    """Drop case, accents and punctuation, so that "amelie" finds "Amélie"."""
    plain = text.str.normalize("NFKD").str.replace_all(r"\p{M}", "").str.to_lowercase()
    return plain.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()


class TitleSearch:
    """Finds movies whose title holds every word of a query."""

    def __init__(self, movies: pl.DataFrame) -> None:
        """Fold the titles of a catalogue."""
        self._titles = movies.select(
            (pl.lit(" ") + _fold(pl.col(TITLE))).alias(TITLE), pl.col(f.MOVIE_NUM_RATINGS).alias("count")
        ).with_row_index("row")

    def find(self, query: str, n: int) -> list[int]:
        """Return the catalogue positions of the n best matches.

        A word of the query matches the beginning of a word of the title. Titles that begin with the query come first,
        then the ones with most ratings. A query without a letter or digit finds the most rated movies.
        """
        folded = pl.select(_fold(pl.lit(query))).item()
        matches = pl.lit(True)
        for word in folded.split():
            matches = matches & pl.col(TITLE).str.contains(f" {word}", literal=True)
        found = self._titles.filter(matches).sort(~pl.col(TITLE).str.starts_with(f" {folded}"), -pl.col("count"), "row")
        return found["row"].head(n).to_list()

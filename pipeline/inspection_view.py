"""What `matinee data inspect` prints."""

from __future__ import annotations

import polars as pl
from rich.console import Console
from rich.table import Table

from components.polars_example_gen.inspection import Inspection
from serving.console import show, visible


def print_inspection(console: Console, found: Inspection, text: str) -> None:
    """Print what a data set is, its first rows as they are read, and what would be rejected.

    Args:
      console: Where to print.
      found: What was found.
      text: The specification as YAML.
    """
    counts, about = found.counts, "" if found.whole else "about "
    read = "" if found.whole else " in what was read"
    console.print(f"Specification  {found.name or 'a new one'}")
    console.print(
        f"Ratings        {visible(found.files['ratings'])}: {about}{counts['ratings']:,} rows, "
        f"{counts['users']:,} users{read}, scale {found.spec.scale}, liked from {found.spec.scale.liked:g}",
        soft_wrap=True,
    )
    kinds = counts["categories"]
    console.print(f"Items          {visible(found.files['movies'])}: {counts['items']:,} rows, {kinds:,} categories")
    show(console, _rows("Ratings as they are read", found.ratings))
    show(console, _rows("Items as they are read", found.items))
    rejected = ", ".join(f"{count:,} {problem}" for problem, count in found.report.counts.items())
    console.print(f"Rejected{read}: {rejected or 'nothing'}", soft_wrap=True)
    for row in found.report.samples:
        console.print(f"  {visible(str(row))}", soft_wrap=True)
    console.print(f"\n{text.rstrip()}\n", soft_wrap=True)


def _rows(title: str, frame: pl.DataFrame) -> Table:
    table = Table(title=title, title_justify="left")
    for name in frame.columns:
        table.add_column(name, overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*(visible(f"{value:g}" if isinstance(value, float) else str(value)) for value in row))
    return table

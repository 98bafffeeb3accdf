"""What the terminal shows is text, whatever it looks like."""

import io

import pytest

from serving.answers import RatedMovie, Recommendation
from serving.console import recommendation_table, terminal_console

TITLES = [
    "Alien [/b] (1979)",
    "[rec] (2007)",
    "Pizza :pizza: [red]",
    "[link=http://evil]x[/link]",
    "\\[bold]",
    "100 [%]",
]


@pytest.mark.parametrize("title", TITLES)
def test_titles_and_genres_are_printed_as_they_are(title, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    output = io.StringIO()
    found = [Recommendation(1, title, (f"[{title}]",), 2000, 0.5, 4.0, because=RatedMovie(2, title, 5.0))]
    terminal_console(output).print(recommendation_table(found, f"For {title}"))
    text = " ".join(line.strip() for line in output.getvalue().splitlines())
    assert text.count(title) == 4, "in the table's title, and in three cells"

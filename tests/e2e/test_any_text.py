"""Titles, paths and ids of any Unicode text: they come out as they went in, from the CSV to the page and the report."""

import io
import json
import re

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright

from components.polars_example_gen import checks
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.source import Source
from pipeline import queries
from pipeline.data_sample import SampleConfig, write_sample
from serving import Recommender
from serving.answers import RatedMovie, Recommendation
from serving.console import recommendation_table, terminal_console, visible
from tests.browser import ARGUMENTS, CHROMIUM
from tests.serving.harness import serving
from tests.workspace import Workspace

ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
"""Every character that UTF-8 has."""
SPECIAL = st.sampled_from(
    [
        "[/b]", "[rec]", ":pizza:", "[link=x]", "<script>alert(1)</script>", "&amp;", "{0} {{x}}", "%s", "\\n", '"',
        ",", "|", "\n", "\r\n", "\t", "\0", "\x1b[31m", "\x1b]0;x\x07", "\u202e", "\u200f", "\u0301", "\ufeff",
        "👩‍👩‍👧‍👦", "🎬", "العربية", "日本語", "(1999)", "(99999)", " ", "-", "=1+1", "\ufffd", "\x85",
        "\u2028", "'",
    ]
)  # fmt: skip
TITLE = st.lists(st.one_of(ANY, SPECIAL), min_size=1, max_size=4).map("".join)
MOVIES = 300
QUICK = settings(max_examples=200, deadline=None)


def movies_csv(titles, ids=None, genres=None):
    """Return a movies table with every title in quotes."""
    rows = zip(ids or range(1, len(titles) + 1), titles, genres or ["Drama"] * len(titles), strict=True)
    quoted = (
        f'{number},"{title}",{names}\n'.encode()
        for number, title, names in ((i, t.replace('"', '""'), g) for i, t, g in rows)
    )
    return b"movieId,title,genres\n" + b"".join(quoted)


def unspaced(text):
    """Return a text without what a table fills and wraps it with."""
    return re.sub(r"[\s│┃]+", "", text)


def titles_in(table):
    """Return the title of each row of a table that was printed, unspaced; a row begins with a movie id."""
    found = []
    for line in table.split("\n"):
        cells = line.split("│")
        if len(cells) >= 5 and cells[1].strip().isdigit():
            found.append(cells[2])
        elif len(cells) >= 5 and not cells[1].strip() and found:
            found[-1] += cells[2]
    return [unspaced(title) for title in found]


@QUICK
@given(st.lists(TITLE, min_size=1, max_size=5))
def test_titles_are_read_as_they_are(tmp_path_factory, titles):
    path = tmp_path_factory.mktemp("titles") / "movies.csv"
    path.write_bytes(movies_csv(titles))
    movies, _, _ = read_movies(Source(str(path), "csv"))
    assert movies["title"].to_list() == titles


@QUICK
@given(TITLE)
def test_titles_are_printed_as_they_are_and_move_no_cursor(title):
    output = io.StringIO()
    found = [Recommendation(1, title, (title,), 2000, 0.5, 4.0, because=RatedMovie(2, title, 5.0))]
    terminal_console(output).print(recommendation_table(found, title))
    assert not set(output.getvalue()) & {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160))}
    if "│" not in title and "\n" not in title:
        assert titles_in(output.getvalue()) == [unspaced(visible(title))]


@QUICK
@given(ANY.filter(lambda text: not text.strip("0123456789 +-_").isspace()))
def test_ids_that_are_none_are_named_in_the_error(text):
    """As an id in a table, and as one of a command; what names it cannot move the cursor either."""
    bad = f"x{text}"
    report = checks.Report(1, {checks.UNREADABLE: 1}, (checks.BadRow(checks.UNREADABLE, "ratings.csv", 7, bad, "a,b"),))
    with pytest.raises(checks.BadInputError) as error:
        checks.enforce([report], checks.FAIL, 0)
    assert str(error.value).startswith(f"ratings.csv, line 7: {bad!r} is not readable: expected a,b")
    assert str(error.value).isprintable()
    if "," not in bad:
        with pytest.raises(ValueError, match=r"--rate: .* is not of the form movie:rating") as refused:
            queries.parse_ratings(f"{bad}:x")
        assert str(refused.value).isprintable()


NAMES = ("dätä [x] 'q' \u202e🎬 \"[⁄b]\"", "öut :pizza: <b> 'q' {0} %s 日本 🎬" + " and long" * 10)
"""Of the directories, the output's longer than a line. TFX takes brackets in it for a pattern, which is refused at
once."""


def sample_with(titles, directory):
    """Write a sample whose movies have these titles; return movie id -> title."""
    write_sample(str(directory), SampleConfig(users=100, movies=MOVIES, ratings=6_000))
    movies = pl.read_csv((directory / "movies.csv").read_bytes())
    ids = movies["movieId"].to_list()
    (directory / "movies.csv").write_bytes(movies_csv(titles, ids, movies["genres"].to_list()))
    return dict(zip(ids, titles, strict=True))


@settings(
    max_examples=1,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(TITLE, min_size=MOVIES, max_size=MOVIES))
def test_a_run_with_titles_and_paths_of_any_text(tmp_path_factory, matinee, titles):
    root = tmp_path_factory.mktemp("any")
    workspace = Workspace(root / NAMES[0], root / NAMES[1])
    expected = sample_with(titles, workspace.data)
    done = workspace.run("--max-rmse", "9")
    assert done.returncode == 0, done.stdout
    assert str(workspace.data) in done.stdout
    assert str(workspace.serving) in done.stdout
    recommender = Recommender.load(str(workspace.serving))
    assert dict(zip(recommender.movies["movie_id"], recommender.movies["title"], strict=True)) == expected
    user = int(recommender.user_ids[0])
    found = recommender.recommend(user_id=user)
    listed = [movie.title for movie in found]
    status, out, _ = matinee("recommend", "--serving-dir", workspace.serving, "--user", user, "--json")
    assert status == 0
    assert [movie["title"] for movie in json.loads(out)] == listed
    terminal_console(printed := io.StringIO()).print(recommendation_table(found, "For them"))
    if not any("│" in title or "\n" in title for title in listed):
        assert titles_in(printed.getvalue()) == [unspaced(visible(title)) for title in listed]
    with serving(workspace.serving) as service:
        for movie_id, title in expected.items():
            assert service.get(f"/v1/movies/{movie_id}").json()["movie"]["title"] == title
            assert service.get("/v1/movies", params={"query": title[:200]}).status_code == 200
        answer = service.get(f"/v1/users/{user}/recommendations").json()["recommendations"]
        assert [movie["title"] for movie in answer] == listed
        if CHROMIUM:
            assert_shown(service)
    report = workspace.output / "réport [1] 🎬.html"
    assert matinee("report", "--output", workspace.output, "--to", report)[:2] == (0, f"{report}\n")
    assert "<script>alert(1)" not in report.read_text(encoding="utf-8")


def assert_shown(service):
    """Assert that the page shows the titles as text, and runs nothing that is in them."""
    expected = [movie["title"] for movie in service.post("/v1/recommendations", {}).json()["recommendations"]]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page, wrong = browser.new_page(base_url=str(service.client.base_url)), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.goto("/")
        page.locator("#recommendations > li").nth(9).wait_for()
        shown = page.locator("#recommendations > li .name").evaluate_all("names => names.map(name => name.textContent)")
        browser.close()
    assert wrong == []
    for title, text in zip(expected, shown, strict=True):
        # The page shows a year at the end of a title apart from it.
        assert title.startswith(text)
        assert title == text or title.strip().endswith(")")

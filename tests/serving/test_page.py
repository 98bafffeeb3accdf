"""The page in a real browser: clicks, keys, errors. Needs Chromium (Debian: apt-get install chromium)."""

import json
import os
import pathlib
import re
import shutil

import polars as pl
import pytest
from playwright.sync_api import expect, sync_playwright

from schemas.ingest import LINKS_TYPE
from serving import MovieFilter, Recommender
from tests.browser import ARGUMENTS, CHROMIUM, violations
from tests.serving.harness import QUICK, publish_next, serving

DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}

pytestmark = pytest.mark.skipif(
    not CHROMIUM and not os.environ.get("CI"), reason="no Chromium on PATH or in CHROMIUM (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def visit(request, browser, service):
    """Opens the page for a fresh visitor; it must ask no other host and log no error."""
    context = browser.new_context(
        viewport=request.param,
        has_touch=request.param is PHONE,
        base_url=str(service.client.base_url),
        accept_downloads=True,
    )
    wrong = []

    def open_page(path="/"):
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            lambda m: wrong.append(m.text) if m.type == "error" and "Failed to load resource" not in m.text else None,
        )
        page.on(
            "request",
            lambda r: None if r.url.startswith((str(service.client.base_url), "blob:")) else wrong.append(r.url),
        )
        page.goto(path)
        return page

    open_page.context = context
    yield open_page
    context.close()
    assert wrong == []


@pytest.fixture
def page(visit):
    page = visit()
    expect(page.locator("#recommendations > li")).to_have_count(10)
    return page


@pytest.fixture(scope="module")
def recommender(published):
    return Recommender.load(str(published))


def find(page, text):
    page.get_by_role("combobox", name="Find a movie").fill(text)
    expect(page.locator("#matches [role=option]").first).to_be_visible()


def rated_row(page, movie_id):
    return page.locator(f'#rated > li[data-movie-id="{movie_id}"]')


def rate(page, movie, stars):
    """Search for a movie, choose it, and click so many stars."""
    find(page, movie.title)
    page.locator(f'#matches [data-movie-id="{movie.movie_id}"]').click()
    star(rated_row(page, movie.movie_id), stars).click()


def star(place, stars):
    return place.locator(f'.stars input[value="{stars:g}"]')


def value(place):
    return float(place.locator(".stars input:checked").input_value())


def shown(page):
    return [int(item.get_attribute("data-movie-id")) for item in page.locator("#recommendations > li").all()]


def expect_shown(page, movies):
    """Waits for every place: a list asked for earlier may still be shown, and begin with the same movie."""
    cards = page.locator("#recommendations > li")
    expect(cards).to_have_count(len(movies))
    for card, movie in zip(cards.all(), movies, strict=True):
        expect(card).to_have_attribute("data-movie-id", str(movie.movie_id))


def status(page):
    return page.locator("#status")


def undo(page):
    page.locator("#toast").get_by_role("button", name="Undo").click()


def test_rating_movies_changes_the_recommendations(page, recommender):
    expect(status(page)).to_have_text(re.compile("Popular movies. Rate three"))
    cards, rated = page.locator("#recommendations > li"), []
    for stars in (5.0, 4.5, 1.5):
        movie = recommender.movie(int(recommender.movies["movie_id"][len(rated) * 3]))
        rate(page, movie, stars)
        rated.append((movie.movie_id, stars))
        said = f"with a little of your taste: {len(rated)} rating" if len(rated) < 3 else "From your 3 ratings."
        expect(status(page)).to_contain_text(said)
    expected = recommender.recommend(ratings=rated)
    expect_shown(page, expected)
    for place, movie in enumerate(expected):
        if movie.because:
            why = f"because of {movie.because.title}, {movie.because.rating:g} ★"
            expect(cards.nth(place)).to_contain_text(why)
        else:
            expect(cards.nth(place)).not_to_contain_text("because")
    expect(cards.first.locator(".predicted")).to_have_text(f"{expected[0].predicted_rating:.1f} ★")
    expect(page.locator("#legend")).to_have_text("★ is the rating predicted for you; best match first.")
    page.reload()
    expect(status(page)).to_have_text("From your 3 ratings.")
    expect_shown(page, expected)
    assert [value(row) for row in page.locator("#rated > li").all()] == [1.5, 4.5, 5.0], "the browser remembers them"


def test_ratings_are_sent_as_the_api_wants_them_the_latest_last(page, recommender):
    movies = [recommender.movie(int(movie)) for movie in recommender.movies["movie_id"][:3]]
    for movie in movies[:2]:
        rate(page, movie, 4.0)
    with page.expect_request(lambda r: r.post_data and len(r.post_data_json["ratings"]) == 3) as sent:
        rate(page, movies[2], 4.0)
    assert [row["movie_id"] for row in sent.value.post_data_json["ratings"]] == [movie.movie_id for movie in movies]


def test_every_place_of_the_stars_gives_the_rating_under_it(page, recommender):
    movie = recommender.movie(int(recommender.movies["movie_id"][0]))
    rate(page, movie, 3.0)
    row = rated_row(page, movie.movie_id)
    box = row.locator(".stars").bounding_box()
    for place in range(10):
        page.mouse.click(box["x"] + (place + 0.5) * box["width"] / 10, box["y"] + box["height"] / 2)
        assert value(row) == (place + 1) / 2
    assert box["x"] + box["width"] <= page.viewport_size["width"], "the last one is not cut off"


def test_the_stars_preview_what_a_click_would_give(page, recommender):
    movie = recommender.movie(int(recommender.movies["movie_id"][0]))
    rate(page, movie, 5.0)
    stars = rated_row(page, movie.movie_id).locator(".stars")
    filled = "e => e.style.getPropertyValue('--filled')"
    star(rated_row(page, movie.movie_id), 1.5).hover()
    assert stars.evaluate(filled) == "30%"
    page.mouse.move(1, 1)
    assert stars.evaluate(filled) == "100%"


def test_by_keyboard_alone(page, recommender):
    page.get_by_role("combobox", name="Find a movie").focus()
    page.keyboard.type(recommender.movies["title"][5].split(" (")[0][:14])
    expect(page.locator("#matches [role=option]").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    row = page.locator("#rated > li").first
    expect(row.locator("input:checked")).to_be_focused()
    for key, expected in (
        ("ArrowRight", 4.5),
        ("ArrowRight", 5),
        ("ArrowLeft", 4.5),
        ("2", 2),
        ("ArrowLeft", 1.5),
        ("5", 5),
    ):
        page.keyboard.press(key)
        assert value(row) == expected
    expect(status(page)).to_contain_text("1 rating so far")
    expect(row.get_by_role("radio", name="5 stars", exact=True)).to_be_focused()
    page.get_by_role("tab", name="You").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="A known user")).to_be_focused()
    expect(page.get_by_role("heading", name="A user of the data set")).to_be_visible()


def test_well_known_movies_are_offered_until_three_are_rated(page, recommender):
    offered = page.get_by_role("list", name="Have you seen some of these?").get_by_role("listitem")
    number = 6 if page.viewport_size == PHONE else 12
    expect(offered).to_have_count(number)
    wanted = recommender.starter_movies(number)
    assert [item.locator("span").first.text_content() for item in offered.all()] == [movie.title for movie in wanted]
    for count, movie in enumerate(wanted[:3], 1):
        star(offered.filter(has_text=movie.title).first, 4).click()
        expect(rated_row(page, movie.movie_id)).to_be_visible()
        if count < 3:
            expect(page.locator("#hint")).to_contain_text(f"{3 - count} more")
    expect(page.locator("#starter")).to_be_hidden()
    expect(page.locator("#hint")).to_be_hidden()
    page.get_by_role("button", name=f"Remove {wanted[0].title}").click()
    expect(offered.first).to_contain_text(wanted[0].title)


def test_a_recommendation_can_be_rated_and_is_out_of_the_list_then(page, recommender):
    first = recommender.recommend(ratings=[])[0]
    star(page.locator("#recommendations > li").first, 3.5).click()
    expect(rated_row(page, first.movie_id)).to_be_visible()
    assert value(rated_row(page, first.movie_id)) == 3.5
    expect_shown(page, recommender.recommend(ratings=[(first.movie_id, 3.5)]))
    undo(page)
    expect(page.locator("#rated > li")).to_have_count(0)
    expect_shown(page, recommender.recommend(ratings=[]))


@pytest.mark.parametrize("what", ["Seen it", "Not for me"])
def test_a_recommendation_can_be_put_out_of_the_way(page, recommender, what):
    popular = recommender.recommend(ratings=[], n=11)
    page.locator("#recommendations > li").first.get_by_text(what, exact=True).click()
    expect_shown(page, popular[1:])
    page.reload()
    expect_shown(page, popular[1:])
    page.locator("#hidden summary").click()
    page.get_by_role("button", name=f"Show {popular[0].title} again").click()
    expect_shown(page, popular[:10])
    page.locator("#recommendations > li").first.get_by_text(what, exact=True).click()
    expect_shown(page, popular[1:])
    undo(page)
    expect_shown(page, popular[:10])


def test_what_is_removed_or_forgotten_comes_back_by_undo(page, recommender):
    movies = [recommender.movie(int(movie)) for movie in recommender.movies["movie_id"][:2]]
    for movie in movies:
        rate(page, movie, 2.5)
    rows = page.locator("#rated > li")
    page.get_by_role("button", name=f"Remove {movies[0].title}").click()
    expect(rows).to_have_count(1)
    undo(page)
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Forget all my ratings").click()
    expect(rows).to_have_count(0)
    expect(status(page)).to_contain_text("Popular movies. Rate three")
    undo(page)
    expect(rows).to_have_count(2)
    assert [value(row) for row in rows.all()] == [2.5, 2.5]
    expect(status(page)).to_contain_text("2 ratings so far")


def test_similar_movies_can_be_opened_from_a_card_and_rated_there(page, recommender):
    first = shown(page)[0]
    page.locator("#recommendations > li").first.get_by_role("button", name="Movies like").click()
    cards = page.locator("#similar .cards > li")
    expect(cards).to_have_count(10)
    expected = recommender.similar_movies(first)
    assert [int(card.get_attribute("data-movie-id")) for card in cards.all()] == [m.movie_id for m in expected]
    star(cards.first, 5).click()
    page.keyboard.press("Escape")
    expect(page.locator("#similar")).to_be_hidden()
    expect(rated_row(page, expected[0].movie_id)).to_be_visible()


def test_more_movies_filters_and_orders(page, recommender):
    page.get_by_role("button", name="Show more").click()
    popular = recommender.recommend(ratings=[], n=20)
    expect_shown(page, popular)
    expect(page.locator("#recommendations > li").nth(10).locator("input").first).to_be_focused()
    page.get_by_label("Order").select_option("stars")
    by_stars = sorted(popular, key=lambda movie: -movie.predicted_rating)
    expect_shown(page, by_stars)
    expect(page.locator("#legend")).to_contain_text("most stars first")
    page.get_by_label("Order").select_option("match")
    page.get_by_label("Genre").select_option("Comedy")
    page.get_by_label("From year").fill("1990")
    page.get_by_label("to year").fill("2005")
    page.get_by_label("to year").press("Tab")
    chosen = MovieFilter(genres="Comedy", year_min=1990, year_max=2005)
    expect_shown(page, recommender.recommend(ratings=[], filter=chosen))
    page.get_by_label("Variety").select_option("0.6")
    expect(page.locator("#recommendations .genres").first).to_contain_text("Comedy")


def test_a_known_user_with_their_history(page, recommender):
    user = int(recommender.user_ids[2])
    page.get_by_role("tab", name="A known user").click()
    expect(status(page)).to_have_text(re.compile("Open a user"))
    page.get_by_label("User id").fill(str(user))
    page.get_by_role("button", name="Open").click()
    expect(status(page)).to_have_text(f"For user {user}.")
    expect_shown(page, recommender.recommend(user_id=user))
    total = recommender.history(user).height
    expect(page.locator("#history-title")).to_have_text(f"{total} ratings, the best first")
    expect(page.locator("#history > li")).to_have_count(min(total, 20))
    while page.locator("#history-more").is_visible():
        before = page.locator("#history > li").count()
        page.locator("#history-more").click()
        expect(page.locator("#history > li")).not_to_have_count(before)
    assert page.locator("#history > li").count() == total
    assert page.url.endswith(f"#user={user}")
    assert page.locator("#recommendations").bounding_box()["y"] < 740, "in sight on a phone, too"
    page.get_by_role("tab", name="You").click()
    expect(status(page)).to_contain_text("Popular movies")
    page.go_back()
    expect(status(page)).to_have_text(f"For user {user}.")


def test_an_unknown_user_is_said_once_and_nobody_elses_list_stays(visit, recommender):
    user = int(recommender.user_ids[1])
    page = visit(f"/#user={user}")
    expect_shown(page, recommender.recommend(user_id=user))
    page.get_by_label("User id").fill("999999")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no user 999999 in this data. Try 1, 2, 3.")
    expect(page.locator("#recommendations > li")).to_have_count(0)
    expect(page.locator("#history-panel")).to_be_hidden()
    assert page.get_by_text("999999").count() == 1
    assert str(recommender.model_version) not in page.get_by_role("alert").text_content()
    page.get_by_role("tab", name="You").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#recommendations > li")).to_have_count(10)


def test_ratings_travel_by_link_and_by_file(visit, page, recommender, tmp_path):
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    movies = [recommender.movie(int(movie)) for movie in recommender.movies["movie_id"][:3]]
    for movie, stars in zip(movies, (5, 0.5, 3.5), strict=True):
        rate(page, movie, stars)
    expect(status(page)).to_have_text("From your 3 ratings.")
    expected = shown(page)
    page.locator("#keep summary").click()
    page.get_by_role("button", name="Copy a link").click()
    expect(page.locator("#toast")).to_contain_text("The link is copied")
    link = page.evaluate("navigator.clipboard.readText()")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a file").click()
    download.value.save_as(tmp_path / "mine.json")
    assert [row["movie_id"] for row in json.loads((tmp_path / "mine.json").read_text())["ratings"]] == [
        movie.movie_id for movie in reversed(movies)
    ]
    page.get_by_role("button", name="Forget all my ratings").click()
    expect(page.locator("#rated > li")).to_have_count(0)
    page.get_by_label("Load a file").set_input_files(tmp_path / "mine.json")
    expect(page.locator("#toast")).to_contain_text("3 ratings from the file")
    expect(status(page)).to_have_text("From your 3 ratings.")
    assert shown(page) == expected
    (tmp_path / "other.json").write_text('{"ratings": 7}')
    page.get_by_label("Load a file").set_input_files(tmp_path / "other.json")
    expect(page.locator("#toast")).to_contain_text("This file holds no ratings")
    page.get_by_role("button", name="Forget all my ratings").click()
    expect(page.locator("#rated > li")).to_have_count(0)
    page.goto("about:blank")
    page.goto(f"{link},424242:4")
    expect(page.locator("#toast")).to_contain_text("3 ratings from the link; 1 are not of this data")
    expect(status(page)).to_have_text("From your 3 ratings.")
    assert shown(page) == expected
    undo(page)
    expect(page.locator("#rated > li")).to_have_count(0)


def test_stored_ratings_of_other_data_and_broken_ones_are_left_out_and_said(visit, page, recommender):
    movie = recommender.movie(int(recommender.movies["movie_id"][4]))
    stored = [
        [movie.movie_id, {"title": movie.title, "rating": 4}],
        [recommender.movies["movie_id"][5], {"title": "A film of elsewhere", "rating": 5}],
        [987654321, {"title": "Another one", "rating": 1}],
        [1, None],
        "nonsense",
    ]
    page.evaluate("stored => localStorage.setItem('matinee.ratings', JSON.stringify(stored))", stored)
    page.reload()
    expect(status(page)).to_contain_text("1 rating so far")
    aside = page.locator("#aside")
    expect(aside).to_contain_text(
        "2 of your ratings are of movies that are not in this data: A film of elsewhere, Another one"
    )
    expect(aside).to_contain_text("could not be read")
    star(rated_row(page, movie.movie_id), 5).click()
    kept = "JSON.parse(localStorage.getItem('matinee.ratings')).map(([id]) => id)"
    assert page.evaluate(kept) == [entry[0] for entry in stored[:3]], "kept for when their data is served again"
    aside.get_by_role("button", name="Forget them").click()
    assert page.evaluate(kept) == [movie.movie_id]
    page.evaluate("localStorage.setItem('matinee.ratings', '{')")
    page.reload()
    expect(aside).to_contain_text("could not be read")
    expect(page.locator("#recommendations > li")).to_have_count(10)


def test_a_second_tab_shows_and_keeps_what_the_first_has_rated(visit, page, recommender):
    other = visit()
    expect(other.locator("#recommendations > li")).to_have_count(10)
    movies = [recommender.movie(int(movie)) for movie in recommender.movies["movie_id"][:2]]
    rate(page, movies[0], 5)
    expect(rated_row(other, movies[0].movie_id)).to_be_visible()
    rate(other, movies[1], 1)
    expect(page.locator("#rated > li")).to_have_count(2)
    expect(status(page)).to_contain_text("2 ratings so far")


def test_many_ratings_are_folded(page, recommender):
    stored = [
        [movie, {"title": recommender.movie(movie).title, "rating": 4}]
        for movie in recommender.movies["movie_id"][:30].to_list()
    ]
    page.evaluate("stored => localStorage.setItem('matinee.ratings', JSON.stringify(stored))", stored)
    page.reload()
    rows = page.locator("#rated > li")
    expect(rows).to_have_count(6)
    page.get_by_role("button", name="Show all 30").click()
    expect(rows).to_have_count(30)
    page.get_by_role("button", name="Show fewer").click()
    expect(rows).to_have_count(6)


def test_a_title_that_nobody_has(page):
    page.get_by_role("combobox", name="Find a movie").fill("qqqqqq")
    expect(page.locator("#matches")).to_contain_text("No movie has this title.")


def test_a_service_that_is_away_is_said_and_found_again(page, recommender):
    page.route("**/v1/**", lambda route: route.abort())
    star(page.locator("#recommendations > li").first, 5).click()
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    expect(page.locator("#recommendations > li")).to_have_count(0)
    page.unroute("**/v1/**")
    expect(page.get_by_role("alert")).to_be_hidden(timeout=10_000)
    first = recommender.recommend(ratings=[])[0]
    expect_shown(page, recommender.recommend(ratings=[(first.movie_id, 5)]))


def test_without_a_model_the_page_says_what_to_do_and_waits(browser, root, tmp_path):
    served = tmp_path / "served"
    with serving(served, QUICK) as service:
        page = browser.new_page()
        page.goto(str(service.client.base_url))
        expect(page.get_by_role("alert")).to_contain_text("Train one with “matinee run”")
        shutil.copytree(root, served, dirs_exist_ok=True)
        expect(page.locator("#recommendations > li")).to_have_count(10, timeout=20_000)
        before = page.locator("#model").text_content()
        version = publish_next(served)
        service.wait_for(lambda: service.version() == version)
        page.get_by_label("Variety").select_option("0.3")
        expect(page.locator("#model")).to_contain_text(f"Version {version}")
        assert page.locator("#model").text_content() != before
        page.close()


def test_the_page_asks_for_a_key(browser, published, tmp_path):
    (tmp_path / "key").write_text("s3cret")
    with serving(published, QUICK, api_key_file=str(tmp_path / "key")) as service:
        page = browser.new_page()
        page.goto(str(service.client.base_url))
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_role("alert").filter(has_text="does not take this key")).to_be_visible()
        page.get_by_label("API key").fill("s3cret")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#recommendations > li")).to_have_count(10)
        page.close()


def test_movies_link_to_where_else_they_are_found(browser, root):
    url = "https://www.imdb.com/title/tt0114709/"

    def linked(movies):
        places = [[{"name": "IMDb", "url": url}] if place % 2 else [] for place in range(movies.height)]
        return movies.with_columns(pl.Series("links", places, LINKS_TYPE))

    publish_next(root, movies=linked)
    recommender = Recommender.load(str(root))
    with serving(root) as service:
        page = browser.new_page()
        page.goto(str(service.client.base_url))
        expect(page.locator("#recommendations > li")).to_have_count(10)
        for card, movie in zip(
            page.locator("#recommendations > li").all(), recommender.recommend(ratings=[]), strict=True
        ):
            link = card.get_by_role("link", name=f"{movie.title} at IMDb")
            assert link.count() == len(movie.links)
            if movie.links:
                assert movie.links == {"IMDb": url} == {"IMDb": link.get_attribute("href")}
                assert "noopener" in link.get_attribute("rel")
        page.close()


def test_without_javascript_the_page_says_so(browser, service):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(str(service.client.base_url))
    assert "This page needs JavaScript" in page.locator("noscript").inner_html()
    context.close()


def test_the_apis_document_can_be_read_and_tried_out(visit):
    page = visit("/docs")
    expect(page.get_by_text("/v1/recommendations", exact=True)).to_be_visible(timeout=20_000)
    expect(page.get_by_text("Matinee").first).to_be_visible()


def test_pictures_for_the_readme(browser, published, tmp_path):
    """Of the served version that MATINEE_PICTURED names, in the folder MATINEE_PICTURES; else of the sample's."""
    folder = pathlib.Path(os.environ.get("MATINEE_PICTURES", tmp_path))
    with serving(os.environ.get("MATINEE_PICTURED", published), QUICK) as service:
        page = browser.new_page(viewport={"width": 1100, "height": 760})
        page.goto(str(service.client.base_url))
        expect(page.locator("#recommendations > li")).to_have_count(10)
        for stars in (5, 4.5, 1):
            star(page.locator("#starter li").first, stars).click()
        expect(status(page)).to_have_text("From your 3 ratings.")
        page.locator("#toast").evaluate("e => e.hidden = true")
        page.screenshot(path=folder / "page.png")
        page.close()
    assert (folder / "page.png").stat().st_size > 10_000


@pytest.mark.parametrize("width", [320, 360, 1200])
@pytest.mark.parametrize("theme", ["light", "dark", "forced"])
def test_every_state_is_accessible_and_needs_no_sideways_scrolling(browser, service, recommender, width, theme):
    options = {"forced_colors": "active"} if theme == "forced" else {"color_scheme": theme}
    context = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce", **options)
    page = context.new_page()

    def look(state):
        assert page.locator("html").evaluate("e => e.scrollWidth") <= width, state
        # What fades in has no contrast yet.
        expect(page.locator("#recommendations")).to_have_attribute("aria-busy", "false")
        page.wait_for_timeout(200)
        assert violations(page) == [], state
        if folder := os.environ.get("MATINEE_SCREENSHOTS"):
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{folder}/{state}-{theme}-{width}.png", full_page=True)

    page.goto(str(service.client.base_url))
    expect(page.locator("#recommendations > li")).to_have_count(10)
    look("new")
    find(page, "the")
    look("search")
    page.keyboard.press("Escape")
    for movie in recommender.starter_movies(4):
        rate(page, movie, 4.5)
    expect(status(page)).to_have_text("From your 4 ratings.")
    page.locator("#keep summary").click()
    page.locator("#recommendations > li").first.get_by_text("Not for me").click()
    page.locator("#hidden summary").click()
    look("rated")
    page.locator("#recommendations > li").first.get_by_role("button", name="Movies like").click()
    expect(page.locator("#similar .cards > li")).to_have_count(10)
    look("similar")
    page.keyboard.press("Escape")
    page.goto(f"{service.client.base_url}/#user={recommender.user_ids[3]}")
    expect(page.locator("#history-title")).to_be_visible()
    look("user")
    page.goto(f"{service.client.base_url}/#user=nobody")
    expect(page.get_by_role("alert")).to_be_visible()
    look("unknown")
    context.close()

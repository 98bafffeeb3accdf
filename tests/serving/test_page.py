"""The page in a real browser: clicks, keys, errors. Needs Chromium (Debian: apt-get install chromium)."""

import os
import pathlib
import re
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from serving import Recommender
from tests.serving.harness import QUICK, serving

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

pytestmark = pytest.mark.skipif(
    not CHROMIUM and not os.environ.get("CI"), reason="no Chromium on PATH or in CHROMIUM (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, service):
    """The page of a fresh visitor; it must ask no other host and log no error."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, base_url=str(service.client.base_url))
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console",
        lambda m: wrong.append(m.text) if m.type == "error" and "Failed to load resource" not in m.text else None,
    )
    page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(str(service.client.base_url)) else None)
    page.goto("/")
    yield page
    context.close()
    assert wrong == []


def title_of(recommender, row):
    return recommender.movies["title"][row]


def find(page, text):
    page.get_by_role("combobox", name="Find a movie").fill(text)
    expect(page.locator("#matches [role=option]").first).to_be_visible()


def shown(page):
    return [int(item.get_attribute("data-movie-id")) for item in page.locator("#recommendations > li").all()]


@pytest.fixture(scope="module")
def recommender(published):
    return Recommender.load(str(published))


def test_rating_movies_changes_the_recommendations(page, recommender):
    cards = page.locator("#recommendations > li")
    expect(page.get_by_role("status")).to_have_text(re.compile("Popular movies"))
    expect(cards).to_have_count(10)
    rated = []
    for stars in (5.0, 4.5, 1.5):
        movie = recommender.movies.row(len(rated) * 3, named=True)
        find(page, movie["title"])
        page.locator("#matches [role=option]", has_text=movie["title"]).first.click()
        slider = page.get_by_role("slider", name=f"Stars for {movie['title']}")
        expect(slider).to_be_focused()
        slider.fill(str(stars))
        rated.append((movie["movie_id"], stars))
    expect(page.get_by_role("status")).to_have_text("From your 3 ratings.")
    expected = recommender.recommend(ratings=rated)
    expect(cards.first).to_have_attribute("data-movie-id", str(expected[0].movie_id))
    assert shown(page) == [movie.movie_id for movie in expected]
    for place, movie in enumerate(expected):
        if movie.because:
            why = f"because of {movie.because.title}, {movie.because.rating:g} ★"
            expect(cards.nth(place)).to_contain_text(why)
        else:
            expect(cards.nth(place)).not_to_contain_text("because")
    expect(cards.first.locator(".predicted")).to_have_text(f"{expected[0].predicted_rating:.1f}")
    if target := os.environ.get("MATINEE_SCREENSHOT"):
        pathlib.Path(target).parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=target)
    page.reload()
    expect(page.get_by_role("status")).to_have_text("From your 3 ratings.")
    expect(page.get_by_role("slider")).to_have_count(3)
    assert shown(page) == [movie.movie_id for movie in expected], "the browser remembers the ratings"
    page.get_by_role("button", name="Remove", exact=False).first.click()
    expect(page.get_by_role("status")).to_have_text("From your 2 ratings.")
    page.get_by_role("button", name="Forget all my ratings").click()
    expect(page.get_by_role("status")).to_have_text(re.compile("Popular movies"))


def test_well_known_movies_are_offered_until_three_are_rated(page, recommender):
    offered = page.get_by_role("list", name="Have you seen one of these?").get_by_role("button")
    expect(offered).to_have_count(6)
    wanted = [movie.title for movie in recommender.starter_movies(6)]
    assert offered.all_text_contents() == wanted
    for title in wanted[:3]:
        offered.get_by_text(title, exact=True).click()
        expect(page.get_by_role("slider", name=f"Stars for {title}")).to_be_focused()
        expect(page.get_by_role("button", name=f"Remove {title}")).to_be_visible()
    expect(offered).to_have_count(0)
    page.get_by_role("button", name=f"Remove {wanted[0]}").click()
    expect(offered).to_have_count(6)
    expect(offered.first).to_have_text(wanted[0])


def test_by_keyboard_alone(page, recommender):
    page.get_by_role("combobox", name="Find a movie").focus()
    page.keyboard.type(title_of(recommender, 5).split(" (")[0][:14])
    expect(page.locator("#matches [role=option]").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    slider = page.get_by_role("slider")
    expect(slider).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "5 stars")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "4.5 stars")
    expect(page.get_by_role("status")).to_have_text("From your 1 rating.")
    page.get_by_role("tab", name="You").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="A known user")).to_be_focused()
    expect(page.get_by_role("heading", name="A user of the data set")).to_be_visible()


def test_a_known_user_with_their_history(page, recommender):
    user = int(recommender.user_ids[2])
    page.get_by_role("tab", name="A known user").click()
    expect(page.get_by_role("status")).to_have_text(re.compile("Open a user"))
    page.get_by_label("User id").fill(str(user))
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("status")).to_have_text(f"For user {user}.")
    assert shown(page) == [movie.movie_id for movie in recommender.recommend(user_id=user)]
    expect(page.locator("#history-title")).to_have_text(f"{recommender.history(user).height} ratings, the best first")
    page.get_by_label("User id").fill("999999")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_contain_text("User 999999 is unknown")


def test_similar_movies_and_filters(page, recommender):
    expect(page.locator("#recommendations > li")).to_have_count(10)
    first = shown(page)[0]
    page.locator("#recommendations .link").first.click()
    expect(page.locator("#similar .cards > li")).to_have_count(10)
    similar = [int(item.get_attribute("data-movie-id")) for item in page.locator("#similar .cards > li").all()]
    assert similar == [movie.movie_id for movie in recommender.similar_movies(first)]
    page.keyboard.press("Escape")
    expect(page.locator("#similar")).to_be_hidden()
    page.get_by_label("Genre").select_option("Comedy")
    expect(page.locator("#recommendations .genres").first).to_contain_text("Comedy")


def test_a_title_that_nobody_has(page):
    page.get_by_role("combobox", name="Find a movie").fill("qqqqqq")
    expect(page.locator("#matches")).to_contain_text("No movie has this title.")


def test_a_service_that_fails_says_so_and_recovers(page):
    expect(page.locator("#recommendations > li")).to_have_count(10)
    page.route("**/v1/recommendations", lambda route: route.abort())
    page.get_by_label("Variety").select_option("0.6")
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    page.unroute("**/v1/recommendations")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_page_asks_for_a_key(browser, published, tmp_path):
    (tmp_path / "key").write_text("s3cret")
    with serving(published, QUICK, api_key_file=str(tmp_path / "key")) as service:
        page = browser.new_page()
        page.goto(str(service.client.base_url))
        page.get_by_label("API key").fill("s3cret")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#recommendations > li")).to_have_count(10)
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling_and_has_contrast(browser, service, scheme):
    page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page.goto(str(service.client.base_url))
    expect(page.locator("#recommendations > li")).to_have_count(10)
    assert page.locator("html").evaluate("e => e.scrollWidth") <= 360
    colours = page.locator(".card .link").first.evaluate(
        "e => [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor]"
    )
    ink, paper = (luminance(colour) for colour in colours)
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 7
    page.close()


def luminance(colour):
    """Relative luminance of WCAG 2.2 of a colour such as rgb(1, 2, 3)."""
    parts = [int(x) / 255 for x in re.findall(r"\d+", colour)[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

"""Data that is not MovieLens', from its files to lists and a page: text for ids, another scale, no time."""

import dataclasses
import json
import os
import re
import shutil

import httpx
import numpy as np
import polars as pl
import pytest
import yaml
from playwright.sync_api import expect, sync_playwright

from pipeline.add_movies import add_movies
from pipeline.data_sample import SampleConfig
from pipeline.written_as import write_sample_as
from schemas.data_spec import load, to_yaml
from serving import Recommender
from serving.answers import MovieFilter
from tests.browser import ARGUMENTS, CHROMIUM
from tests.serving.harness import serving
from tests.workspace import Workspace

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on films with names for ids, ratings of 1 to 10 and categories that are learned."""
    root = tmp_path_factory.mktemp("letterboxd")
    write_sample_as(load("letterboxd"), str(root / "data"), SampleConfig(users=120, movies=300, ratings=6000))
    workspace = Workspace(root / "data", root / "output")
    done = workspace.run("--data-spec", "letterboxd", "--user", "user-17")
    assert done.returncode == 0, done.stdout
    return workspace, done.stdout


@pytest.fixture(scope="module")
def recommender(run):
    return Recommender.load(str(run[0].serving))


def test_what_is_loaded_beside_it_has_ids_of_its_own(recommender, published):
    """In one process, as a service takes one version after another."""
    assert isinstance(recommender.user_ids[0], str)
    other = Recommender.load(str(published))
    assert other.user_ids.dtype == np.int64
    assert isinstance(other.recommend(user_id=int(other.user_ids[0]))[0].movie_id, int)
    assert other.recommend(user_id=str(other.user_ids[0])) == other.recommend(user_id=int(other.user_ids[0]))


def test_the_summary_speaks_of_the_datas_own_ids(run):
    _, out = run
    assert "Recommendations for user user-17" in out
    assert "item-" in out
    assert "ratings have no time: what is held out is drawn at random, and time is no feature" in out


def test_lists_take_and_give_ids_and_ratings_as_the_data_has_them(recommender):
    history = recommender.history("user-17")
    assert history["movie_id"].str.starts_with("item-").all()
    assert set(history["rating"]) <= set(np.arange(1.0, 11.0))
    assert history["timestamp"].null_count() == history.height
    found = recommender.recommend("user-17", n=5)
    assert not {r.movie_id for r in found} & set(history["movie_id"])
    assert all(1 <= r.predicted_rating <= 10 for r in found)
    new = recommender.recommend(ratings=list(history.select("movie_id", "rating").iter_rows()), n=5)
    assert [r.movie_id for r in new] == [r.movie_id for r in found], "who gives the same ratings gets the same list"
    assert all(r.because is None or r.because.rating >= 8 for r in found)
    horror = recommender.recommend("user-17", filter=MovieFilter(genres=("Horror",)))
    assert all("Horror" in r.genres for r in horror)
    with pytest.raises(ValueError, match="a rating of 11 is off the scale, expected 1 to 10"):
        recommender.recommend(ratings=[("item-1", 11)])
    with pytest.raises(ValueError, match="user 17 is unknown"):
        recommender.recommend("17")


def test_the_service_speaks_them(run):
    with serving(run[0].serving) as service:
        model = service.get("/v1/model").json()
        assert model["scale"] == {"min": 1, "max": 10, "step": 1, "liked": 8}
        assert (model["timed"], model["genres"][0]) == (False, "(no genres listed)")
        assert "Horror" in model["genres"]
        assert all(user.startswith("user-") for user in model["example_user_ids"])
        of_user = service.get("/v1/users/user-17/recommendations", params={"genres": "Horror"}).json()
        assert all(r["movie_id"].startswith("item-") for r in of_user["recommendations"])
        body = {"ratings": [{"movie_id": "item-1", "rating": 10}, {"movie_id": "no-film", "rating": 3}]}
        answer = service.post("/v1/recommendations", body).json()
        assert answer["ignored_movie_ids"] == ["no-film"]
        wrong = service.post("/v1/recommendations", {"ratings": [{"movie_id": "item-1", "rating": 10.5}]})
        assert wrong.status_code == 422
        assert wrong.json()["errors"] == [{"field": "body.ratings.0.rating", "message": "expected 1 to 10"}]
        assert service.get("/v1/movies/item-1/similar").status_code == 200
        assert service.get("/v1/users/17/ratings").status_code == httpx.codes.NOT_FOUND


@pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="no Chromium on PATH or in CHROMIUM")
def test_the_page_shows_them(run):
    with serving(run[0].serving) as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(base_url=str(service.client.base_url))
        page.goto("/")
        expect(page.locator("#genre option", has_text="Horror")).to_have_count(1)
        page.locator("#starter li").first.locator('input[value="8"]').click()
        radios = page.locator("#rated li").first.get_by_role("radio")
        assert [radio.input_value() for radio in radios.all()] == [str(value) for value in range(1, 11)]
        expect(radios.nth(7)).to_be_checked()
        expect(page.locator("#recommendations > li").first).to_have_attribute("data-movie-id", re.compile("item-"))
        page.get_by_role("tab", name="A known user").click()
        page.get_by_label("User id").fill("user-17")
        page.get_by_role("button", name="Open").click()
        expect(page.locator("#status")).to_have_text("For user user-17.")
        expect(page.locator("#history > li").first).to_have_attribute("data-movie-id", re.compile("item-"))
        browser.close()


def test_new_films_join_it(run, tmp_path):
    root = tmp_path / "serving"
    shutil.copytree(run[0].serving, root, copy_function=shutil.copyfile)
    table = pl.DataFrame(
        {
            "movie_id": ["the-new-one"],
            "movie_title": ["The New One"],
            "year_released": ["2024"],
            "genres": [json.dumps(["Horror", "Opera"])],
        }
    )
    table.write_csv(tmp_path / "new.csv")
    added = add_movies(str(root), str(tmp_path / "new.csv"), spec=load("letterboxd"))
    assert added.movies == 1
    movie = Recommender.load(str(root)).movie("the-new-one")
    assert (movie.title, movie.genres, movie.year) == ("The New One", ("Horror",), 2024)
    with pytest.raises(ValueError, match=r"the movies of version \d+ have text for ids; pass its --data-spec"):
        add_movies(str(root), str(tmp_path / "new.csv"))


def test_the_report_is_on_the_datas_scale(run):
    (report,) = (run[0].output / "artifacts" / "EvaluationGate" / "evaluation").glob("*/report.html")
    text = report.read_text()
    assert "user-" in text
    assert "a like (8.0 or more)" in text


def test_a_changed_specification_runs_again(run, tmp_path):
    """It is part of what ExampleGen is told, and so of the cache's key."""
    workspace, _ = run
    path = tmp_path / "spec.yaml"
    few = dataclasses.replace(load("letterboxd").categories, most=5)
    path.write_text(to_yaml(dataclasses.replace(load("letterboxd"), categories=few)))
    assert yaml.safe_load(path.read_text())["categories"]["most"] == 5
    again = workspace.run("--data-spec", "letterboxd")
    assert set(workspace.states(again.stdout).values()) == {"cached"}
    changed = workspace.run("--data-spec", str(path))
    assert workspace.states(changed.stdout)["PolarsExampleGen"] == "done"
    assert changed.returncode == 0, changed.stdout
    assert "nothing served yet" in changed.stdout, "the served towers take other categories"
    assert Recommender.load(str(workspace.serving)).domain.num_categories == 7

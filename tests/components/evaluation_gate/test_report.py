import dataclasses
import re

import numpy as np
import polars as pl
import pytest
from playwright.sync_api import sync_playwright

from components.dataset import Dataset
from components.evaluation_gate.evaluate import ask, evaluate, measure, per_user
from components.evaluation_gate.held_out import HeldOut
from components.evaluation_gate.report.contents import collect, describe
from components.evaluation_gate.report.live import Live, LiveFeature
from components.evaluation_gate.report.page import render
from components.evaluation_gate.statistics import paired
from schemas import features as f
from schemas.evaluation import Evaluation
from schemas.user_features import FeatureConstants
from schemas.vectors import Vectors
from tests.browser import ARGUMENTS, CHROMIUM, violations
from tests.fixed_model import fixed_model

USERS, MOVIES = 8, 12
LIVE = Live("http://host/metrics", (LiveFeature("user_activity", 12_345, 1.5, 0.0, 0.321),))
HISTORY = {
    "steps": [9, 18],
    "seconds": [2.5, 4.0],
    "loss": [2.0, 1.0],
    "mse": [0.2, 0.1],
    "val_mse": [0.3, 0.2],
    "val_ndcg@10": [0.1, 0.2],
}


def unit(rng, rows):
    vectors = rng.normal(size=(rows, 4)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def data():
    """Every user has rated half of the movies, the first ones more often; the last two of his ratings are held out."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, MOVIES + 1)
    movie = np.concatenate([rng.choice(MOVIES, 6, replace=False, p=weights / weights.sum()) for _ in range(USERS)])
    user = np.repeat(np.arange(USERS), 6).astype(np.int32)
    genres = np.zeros((MOVIES, 20), np.float32)
    genres[:, 5] = 1
    catalog = pl.DataFrame(
        {
            f.MOVIE_ID: np.arange(MOVIES),
            "title": [f"<b>Movie</b> & {i}" for i in range(MOVIES)],
            "genres": [["Comedy"]] * MOVIES,
        }
    ).with_columns(pl.Series(f.MOVIE_GENRES, genres).cast(pl.List(pl.Float32)))
    stars = (rng.integers(6, 11, len(user)) / 2).astype(np.float32)
    train = np.arange(len(user)) % 6 < 4
    constants = FeatureConstants(3.5, (3.5,) * 20, latest_s=0)
    return Dataset(catalog, constants, np.arange(USERS) + 100, user, movie, stars, np.zeros(len(user), np.int64), train)


@pytest.fixture(scope="module")
def model(data):
    rng = np.random.default_rng(1)
    known = fixed_model(data, *(Vectors(unit(rng, rows), unit(rng, rows)) for rows in (USERS, MOVIES)))
    # Of whom it does not know, it says that they are the last rated movie.
    vectors = known.movies
    return dataclasses.replace(
        known, embed_users=lambda features: vectors[features[f.USER_HISTORY_MOVIES][:, 0].clip(0, MOVIES - 1)]
    )


@pytest.fixture(scope="module")
def contents(data, model):
    held = HeldOut.read([data], 100)
    (answers,) = ask([data], held, [model])
    return collect(held, answers, measure(held, answers))


def test_the_table_holds_the_gates_own_numbers_within_their_intervals(data, model, contents):
    result = evaluate([data], model, 100)
    table = {row.name: row for row in contents.table}
    for name, expected in (("this model", result.model), ("popularity", result.baselines["popularity"])):
        for metric, cell in (("recall", table[name].recall), ("ndcg", table[name].ndcg)):
            assert cell[0] == pytest.approx(getattr(expected, metric))
            assert cell[1] <= cell[0] <= cell[2]
    for name, expected in (("this model", result.model), ("user and movie biases", result.baselines["biases"])):
        assert table[name].rmse[0] == pytest.approx(expected.rmse)
        assert table[name].rmse[1] <= table[name].rmse[0] <= table[name].rmse[2]


def test_calibration_is_of_equal_shares_by_prediction(data, model, contents):
    held = ~data.train
    predicted = np.clip(model.predict(model.users.rating_vectors[data.user[held]], data.movie[held]), 0.5, 5)
    found = contents.calibration
    order = np.argsort(predicted, kind="stable")
    assert len(found.predicted) == 16, "as many as there are held-out ratings"
    np.testing.assert_allclose(found.predicted, predicted[order], rtol=1e-6)
    np.testing.assert_allclose(found.given, data.stars[held][order])


def test_popularity_groups_hold_as_many_ratings_each(data, model, contents):
    found = contents.popularity
    counts = np.sort(np.bincount(data.movie[data.train], minlength=MOVIES))[::-1]
    assert found.movies.sum() == MOVIES
    # A movie belongs to the tenth in which its first rating falls, the most rated movie first.
    group = np.minimum((np.cumsum(counts) - counts) * 10 // counts.sum(), 9)
    assert found.movies.tolist() == np.bincount(group, minlength=10).tolist()
    assert found.recommended.sum() == pytest.approx(1)
    assert found.liked.sum() == pytest.approx(1)


def test_the_examples_are_users_with_what_they_rated_and_liked(data, model, contents):
    for example in contents.examples:
        rows = np.flatnonzero(data.user == example.user_id - 100)
        train = rows[data.train[rows]][::-1]
        assert example.rated == [(f"<b>Movie</b> & {data.movie[i]}", data.stars[i]) for i in train]
        liked = {data.movie[i] for i in rows if not data.train[i] and data.stars[i] >= 4}
        names = {f"<b>Movie</b> & {movie}" for movie in liked}
        assert {title for title, _, hit in example.recommended if hit} == names, "8 movies are left: all are listed"
        assert len(example.recommended) == MOVIES - 4


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(data, model, contents):
    measures = evaluate([data], model, 100)
    decided = {"served_version": None, "comparison": None, "blessed": False, "reason": "refused: <it> is worse"}
    result = Evaluation(**dict(measures), **decided)
    assert Evaluation.from_json(result.to_json()) == result
    page = render(contents, result, HISTORY)
    assert "refused: &lt;it&gt; is worse" in page
    assert "&lt;b&gt;Movie&lt;/b&gt; &amp; 3" in page
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "<b>Movie" not in outside
    assert not re.search(r"<(script|img|link)[^>]*(src|href)=", page)
    assert page.count('class="plotly-graph-div"') == 5
    without = render(dataclasses.replace(contents), result, {})
    assert "Learning curves" not in without


def test_slices_say_of_how_many_and_how_sure(data, model, contents):
    expected = evaluate([data], model, 100).slices
    for kind, rows in contents.slices.items():
        assert [row.name for row in rows] == [name for name, each in expected[kind].items() if each.ratings]
        for row in rows:
            assert row.ratings == expected[kind][row.name].ratings
            assert row.rmse[0] == pytest.approx(expected[kind][row.name].rmse)
            assert row.rmse[1] <= row.rmse[0] <= row.rmse[2]
    (active,) = contents.slices["user activity (train ratings)"]
    assert active.users == expected["user activity (train ratings)"][active.name].users
    assert active.ndcg[1] <= active.ndcg[0] <= active.ndcg[2]


def test_new_users_are_ranked_for_by_their_first_ratings_alone(data, model, contents):
    assert [row.told for row in contents.new_users] == [1, 3], "nobody has five train ratings"
    held = HeldOut.read([data], 100)
    gains = []
    for row in range(len(held.task.users)):
        first = held.task.seen[1][held.task.seen[0][row]]
        scores = model.movies.embeddings @ model.movies.embeddings[first]
        scores[first] = -np.inf
        order = np.argsort(-scores, kind="stable")[:10].tolist()
        liked = held.task.relevant[1][held.task.relevant[0][row] : held.task.relevant[0][row + 1]]
        gain = sum(1 / np.log2(order.index(movie) + 2) for movie in liked if movie in order)
        gains.append(gain / sum(1 / np.log2(place + 2) for place in range(len(liked))))
    assert contents.new_users[0].ndcg[0] == pytest.approx(np.mean(gains), rel=1e-5)
    assert contents.new_users[0].users == len(gains)


def test_a_taste_is_probed_by_category(contents):
    (comedy,) = contents.tastes
    assert (comedy.category, comedy.share, comedy.usual) == ("Comedy", 1.0, 1.0), "the only one that there is"


def test_two_evaluations_are_compared_user_by_user(data, model):
    held = HeldOut.read([data], 100)
    ours = per_user(held, measure(held, *ask([data], held, [model])))
    worse = ours.with_columns(pl.col("squared_error") * 4, pl.col("ndcg@10") * 0.5)
    rmse, recall, ndcg = paired(ours, worse)
    measured = evaluate([data], model, 100).model
    assert (rmse.ours, ndcg.ours) == (pytest.approx(measured.rmse), pytest.approx(measured.ndcg))
    assert rmse.theirs == pytest.approx(2 * measured.rmse)
    assert rmse.high < 0
    assert ndcg.low > 0
    assert (recall.low, recall.high) == (0, 0)
    assert rmse.users == USERS
    with pytest.raises(ValueError, match="no user"):
        paired(ours, worse.with_columns(pl.col("user_id") + 10**6))


def test_the_page_has_a_model_card(data, model, contents):
    held = HeldOut.read([data], 100)
    about = describe(held, "train 9 steps", 7)
    assert about["Data"] == "48 ratings (32 train, 16 held out) by 8 users; 12 movies"
    assert about["Served before"] == "version 7"
    decided = {"served_version": 7, "comparison": None, "blessed": True, "reason": "blessed"}
    result = Evaluation(**dict(evaluate([data], model, 100)), **decided)
    page = render(contents, result, HISTORY, about, '{"seed": 0}')
    assert "train 9 steps" in page
    assert "{&#34;seed&#34;: 0}" in page


def test_the_page_says_who_asks_the_service(data, model, contents):
    decided = {"served_version": 7, "comparison": None, "blessed": True, "reason": "blessed"}
    result = Evaluation(**dict(evaluate([data], model, 100)), **decided)
    assert "Who asks the service" not in render(contents, result, HISTORY)
    page = render(contents, result, HISTORY, live=LIVE)
    assert "user_activity: drifted" in page
    assert "12,345" in page
    assert "+1.50" in page
    page = render(contents, result, HISTORY, live=Live("http://host/metrics", problem="ConnectError: <refused>"))
    assert "http://host/metrics say nothing: ConnectError: &lt;refused&gt;" in page


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on PATH or in CHROMIUM (apt-get install chromium)")
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (360, "dark")])
def test_the_page_is_accessible_and_fits_a_phone(data, model, contents, tmp_path, width, scheme):
    decided = {"served_version": None, "comparison": None, "blessed": True, "reason": "blessed"}
    result = Evaluation(**dict(evaluate([data], model, 100)), **decided)
    about = describe(HeldOut.read([data], 100), "train 9 steps", None)
    (tmp_path / "report.html").write_text(render(contents, result, HISTORY, about, "{}", LIVE), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto((tmp_path / "report.html").as_uri())
        page.get_by_text("The same as a table").click()
        assert page.locator("html").evaluate("e => e.scrollWidth") <= width
        assert violations(page) == []
        browser.close()

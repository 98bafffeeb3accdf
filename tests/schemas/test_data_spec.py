"""Data specifications, the scale of ratings, and keys that are text."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import data_spec, ids
from schemas import features as f
from schemas.configuration import from_json, to_json
from schemas.domain import Domain, Scale


@pytest.mark.parametrize("name", data_spec.built_in())
def test_a_built_in_specification_round_trips_as_yaml_and_json(name):
    spec = data_spec.named(name)
    assert data_spec.parse(data_spec.to_yaml(spec), "here") == spec
    assert from_json(data_spec.DataSpec, to_json(spec)) == spec


def test_there_are_the_built_in_ones_that_the_documentation_names():
    assert set(data_spec.built_in()) == {
        *("movielens", "ml-1m", "ml-100k", "letterboxd", "goodbooks", "book-crossing", "implicit")
    }


def test_a_file_and_a_name(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "ratings: {files: [r], user: wer}\nitems: {files: [i]}\nscale: {min: 1, max: 3, step: 1, liked: 3}\n"
    )
    assert data_spec.load(str(path)).ratings.user == "wer"
    assert data_spec.load("ml-1m") is data_spec.named("ml-1m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ratings: {files: [r], users: wer}\nitems: {files: [i]}", r"here: ratings.users = 'wer'"),
        ("ratings: {files: [r]}", "here: items is missing$"),
        ("ratings: 5\nitems: {files: [i]}", "here: ratings = 5: expected a section$"),
        ("ratings: {files: r}\nitems: {files: [i], categories: 5}", "here: items.categories = 5: .* a list$"),
        ("- a", "here holds no sections"),
        ("a: [", "here is no YAML"),
        ("ratings: {files: [r], encoding: klingon}\nitems: {files: [i]}", "there is no encoding 'klingon'"),
        ("ratings: {files: [r]}\nitems: {files: [i]}\nscale: {min: 1, max: 5, step: 0.3}", "steps of 0.3 do not lead"),
        ("ratings: {files: [r]}\nitems: {files: [i]}\nscale: {min: 5, max: 1, step: 1}", "min must be below max"),
        ("ratings: {files: [r]}\nitems: {files: [i]}\nscale: {min: 0, max: 1000, step: 1}", "1001 steps"),
        ("ratings: {files: [r]}\nitems: {files: [i]}\nscale: {liked: 9}", "liked is 9"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        data_spec.parse(text, "here")


def test_no_such_specification():
    with pytest.raises(ValueError, match="there is no data specification 'ml-9'; expected a file, or one of "):
        data_spec.load("ml-9")
    with pytest.raises(ValueError, match=r"cannot read the data specification nowhere.yaml: No such file"):
        data_spec.load("nowhere.yaml")


SCALES = [data_spec.named(name).scale for name in data_spec.built_in()] + [
    Scale(-10, 10, 0.25, 5),
    Scale(0, 100, 1, 75),
    Scale(0, 10, 0.1, 7.1),
]


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_ratings_stars_and_steps_are_the_same_thing(scale):
    ratings = np.array([scale.min + i * scale.step for i in range(scale.steps)])
    stars = scale.to_stars(ratings).astype(np.float32)
    assert (stars[0], stars[-1]) == (f.RATING_MIN, f.RATING_MAX)
    np.testing.assert_allclose(scale.of_stars(stars), ratings, atol=1e-5)
    steps = scale.steps_of_stars(stars)
    assert steps.dtype == np.uint8
    assert steps.tolist() == list(range(1, scale.steps + 1))
    np.testing.assert_allclose(scale.stars_of_steps(steps.astype(np.float32)), stars, atol=1e-6)
    liked = ratings >= scale.liked - 1e-9
    np.testing.assert_array_equal(stars >= scale.liked_stars, liked)
    np.testing.assert_array_equal(scale.given(stars) >= scale.liked, liked)
    assert [f"{rating:g}" for rating in scale.given(stars)] == [f"{rating:g}" for rating in ratings]
    np.testing.assert_array_equal(steps >= scale.liked_step, liked)


def test_movielens_stars_are_its_ratings_to_the_bit():
    scale = data_spec.movielens().scale
    ratings = np.arange(1, 11, dtype=np.float32) / 2
    assert scale.to_stars(ratings) is ratings
    np.testing.assert_array_equal(scale.stars_of_steps(np.arange(1, 11, dtype=np.float32)), ratings)
    doubled = Scale(1, 10, 1, 8)
    np.testing.assert_array_equal(doubled.to_stars(ratings * 2), ratings)


def test_a_domain_names_each_category_once():
    with pytest.raises(ValueError, match="each once"):
        Domain(("none", "a", "a"))
    spec = data_spec.named("ml-100k")
    assert spec.domain(spec.categories.names).categories[:3] == ("unknown", "Action", "Adventure")


def test_a_key_has_the_same_number_everywhere():
    assert ids.number_of("user-17") == 4886261077474498825
    keys = pl.Series(["b", None, "a", "b"])
    numbers = ids.numbers_of(keys)
    assert numbers.dtype == pl.Int64
    assert numbers.to_list() == [ids.number_of("b"), None, ids.number_of("a"), ids.number_of("b")]


@given(st.text())
def test_a_number_is_never_negative(key):
    assert 0 <= ids.number_of(key) < 1 << 63


def test_two_keys_of_one_number_are_an_error():
    ids.check_distinct(["a", "b", "a"], [1, 2, 1])
    with pytest.raises(ValueError, match="'a' and 'b' have the same number 1"):
        ids.check_distinct(["a", "b"], [1, 1])

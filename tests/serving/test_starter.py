"""The starter list: well-known movies, each of which says something new."""

import numpy as np

from serving.starter import most_telling


def groups(sizes):
    """Movies of groups at right angles; those of a group are nearly the same."""
    rng = np.random.default_rng(0)
    centres = np.eye(len(sizes))[np.repeat(np.arange(len(sizes)), sizes)]
    vectors = centres + rng.normal(scale=0.05, size=centres.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_each_movie_says_something_new():
    vectors, ratings = groups([10, 10, 10]), np.full(30, 100.0)
    assert sorted((most_telling(vectors, ratings, 3) // 10).tolist()) == [0, 1, 2]


def test_large_groups_come_first_and_known_movies_stand_for_them():
    vectors, ratings = groups([20, 5, 2]), np.full(27, 50.0)
    ratings[[7, 22, 26]] = 100
    assert most_telling(vectors, ratings, 3).tolist() == [7, 22, 26]


def test_movies_that_hardly_anybody_knows_are_not_asked_for():
    vectors, ratings = groups([300, 200]), np.concatenate([np.full(300, 50.0), np.full(200, 1.0)])
    assert (most_telling(vectors, ratings, 40) < 300).all()


def test_none_comes_twice_and_there_are_no_more_than_there_are():
    vectors, ratings = groups([2, 3]), np.arange(5.0)
    assert sorted(most_telling(vectors, ratings, 10).tolist()) == [0, 1, 2, 3, 4]

import faiss
import numpy as np
import pytest

from serving import search as search_module
from serving.search import Heads, Hits, MovieSearch, Search

MOVIES, DIM = 3_000, 16
NONE = np.empty(0, np.int32)


def unit(rows, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def by_heads(monkeypatch):
    """Embeddings that differ along a few directions, and the search that knows them."""
    monkeypatch.setattr(search_module, "_LEAST_MOVIES", 100)
    monkeypatch.setattr(search_module, "_HEAD", 4)
    rng = np.random.default_rng(5)
    vectors = (rng.normal(size=(MOVIES, DIM)) * np.geomspace(1, 1e-5, DIM)).astype(np.float32)
    vectors[1::2] = vectors[::2]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    heads = Heads.of(vectors)
    assert heads is not None
    return MovieSearch(vectors), MovieSearch(vectors, heads=heads)


@pytest.mark.parametrize("n", [1, 10, 90, 400, MOVIES])
def test_a_search_by_heads_finds_what_a_plain_one_finds(by_heads, n):
    plain, fast = by_heads
    rng = np.random.default_rng(n)
    for users in (unit(1, 1), unit(3, 2), plain.embeddings[:5]):
        hidden = [rng.choice(MOVIES, rng.integers(0, MOVIES), replace=False) for _ in users]
        allowed = [None, rng.random(MOVIES) < 0.3, np.zeros(MOVIES, bool), None, None]
        searches = [Search(n, *both) for both in zip(hidden, allowed, strict=False)]
        for found, expected in zip(
            fast.top_many(users, searches[: len(users)]), plain.top_many(users, searches[: len(users)]), strict=True
        ):
            np.testing.assert_array_equal(found.rows, expected.rows)
            np.testing.assert_array_equal(found.scores, expected.scores)


def test_heads_are_left_where_they_say_little(monkeypatch):
    assert Heads.of(unit(MOVIES, 1)) is None, "a few movies"
    monkeypatch.setattr(search_module, "_LEAST_MOVIES", 100)
    monkeypatch.setattr(search_module, "_HEAD", 4)
    assert Heads.of(unit(MOVIES, 1)) is None, "every direction is as long as any other"


@pytest.fixture(scope="module")
def embeddings():
    vectors = unit(MOVIES, 0)
    vectors[1::2] = vectors[::2]  # Every movie has a twin: ties everywhere.
    return vectors


@pytest.fixture(scope="module")
def approximate(embeddings):
    index = faiss.index_factory(DIM, "HNSW32", faiss.METRIC_INNER_PRODUCT)
    index.add(embeddings)
    return MovieSearch(embeddings, index)


def plain(embeddings, user, n, hidden=NONE, allowed=None):
    """An argsort in double precision, twins by position."""
    scores = (embeddings.astype(np.float64) * user).sum(axis=1)
    if allowed is not None:
        scores[~allowed] = -np.inf
    scores[hidden] = -np.inf
    order = np.argsort(-scores, kind="stable")[:n]
    return order[scores[order] > -np.inf]


@pytest.mark.parametrize("n", [1, 10, 99, MOVIES])
def test_the_top_equals_an_argsort_and_ties_go_to_the_lower_position(embeddings, n):
    search, rng = MovieSearch(embeddings), np.random.default_rng(n)
    for user in unit(20, seed=n):
        hidden = rng.choice(MOVIES, 200, replace=False)
        hits = search.top(user, Search(n, hidden))
        np.testing.assert_array_equal(hits.rows, plain(embeddings, user, n, hidden))
        np.testing.assert_allclose(hits.scores, embeddings[hits.rows] @ user, atol=1e-6)


@pytest.mark.parametrize("most_pairs", [100_000, 30])
def test_many_users_equal_each_alone(embeddings, monkeypatch, most_pairs):
    monkeypatch.setattr("serving.search._BLOCK_BYTES", 7 * MOVIES * 4)
    monkeypatch.setattr("serving.search._MOST_PAIRS", most_pairs)
    search, users = MovieSearch(embeddings), unit(20, seed=3)
    hidden = [np.arange(i * 10) for i in range(20)]
    for user, rows, hits in zip(
        users, hidden, search.top_many(users, [Search(10, rows) for rows in hidden]), strict=True
    ):
        np.testing.assert_array_equal(hits.rows, plain(embeddings, user, 10, rows))
        np.testing.assert_array_equal(hits.scores, search.top(user, Search(10, rows)).scores)


def test_where_all_movies_are_the_same_the_first_ones_are_found():
    search = MovieSearch(np.ones((MOVIES, 1), np.float32))
    for number, hits in enumerate(
        search.top_many(np.ones((50, 1), np.float32), [Search(n + 1, NONE) for n in range(50)])
    ):
        np.testing.assert_array_equal(hits.rows, np.arange(number + 1))


@pytest.mark.parametrize("left", [0, 1, 9])
def test_who_has_seen_nearly_everything_gets_what_is_left(embeddings, approximate, left):
    hidden = np.random.default_rng(1).permutation(MOVIES)[left:]
    for search in (MovieSearch(embeddings), approximate):
        hits = search.top(unit(1, 1)[0], Search(10, hidden))
        assert sorted(hits.rows) == sorted(set(range(MOVIES)) - set(hidden))
        assert len(search.top_many(unit(1, 1), [Search(10, hidden)])[0].rows) == left


def test_the_approximate_search_finds_nearly_the_same_and_nothing_hidden(embeddings, approximate):
    found, wanted = 0, 0
    for user in unit(50, seed=2):
        hidden = plain(embeddings, user, 100)  # The hardest case: the nearest hundred are hidden.
        hits = approximate.top(user, Search(10, hidden))
        assert not set(hits.rows) & set(hidden)
        assert len(set(hits.rows)) == 10
        assert (np.diff(hits.scores) <= 0).all()
        expected = plain(embeddings, user, 10, hidden)
        found, wanted = found + len(set(hits.rows) & set(expected)), wanted + 10
    assert found / wanted > 0.95


def test_a_filter_is_searched_exactly(embeddings, approximate):
    allowed = np.zeros(MOVIES, bool)
    allowed[::97] = True
    for user in unit(20, seed=5):
        hits = approximate.top(user, Search(10, np.arange(98), allowed))
        np.testing.assert_array_equal(hits.rows, plain(embeddings, user, 10, np.arange(98), allowed))


def test_diversity_by_hand():
    """Two near twins and a movie at a right angle: the second twin falls behind."""
    vectors = np.array([[1, 0], [0.99, np.sqrt(1 - 0.99**2)], [0, 1]], np.float32)
    search, hits = MovieSearch(vectors), Hits(np.array([0, 1, 2]), np.array([0.9, 0.8, 0.5]))
    assert search.diversify(hits, 2, 0.0).rows.tolist() == [0, 1]
    # After the first: 0.5 * 0.8 - 0.5 * 0.99 = -0.095 for the twin, 0.5 * 0.5 - 0 = 0.25 for the other.
    assert search.diversify(hits, 2, 0.5).rows.tolist() == [0, 2]
    assert search.diversify(hits, 5, 0.5).rows.tolist() == [0, 2, 1]
    assert search.diversify(hits, 2, 0.5).scores.tolist() == [0.9, 0.5]

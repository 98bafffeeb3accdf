"""The splits that models are compared by."""

import numpy as np
import pytest

pytest.importorskip("implicit", reason="benchmarks compare with implicit, which has no wheel for this Python")

from benchmarks.heldout import HeldOut
from benchmarks.protocols import PROTOCOLS


@pytest.fixture(scope="module")
def ratings():
    """Twenty users of 4 to 42 ratings, many of them in the same second."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(20), np.arange(4, 44, 2))
    timestamp = np.concatenate([np.sort(rng.integers(0, 1000, (user == u).sum()) // 7 * 7) for u in range(20)])
    stars = rng.integers(1, 11, len(user)) / 2
    movie = np.concatenate([rng.permutation(50)[: (user == u).sum()] for u in range(20)])
    return HeldOut(np.arange(20) + 7, np.arange(50) + 3, user, movie, stars, timestamp, np.ones(len(user), bool))


def pairs(held, train):
    rows = held.train == train
    return set(zip(held.user_ids[held.user[rows]], held.movie_ids[held.movie[rows]], strict=True))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_nothing_that_is_to_be_found_is_shown(ratings, name):
    protocol = PROTOCOLS[name](ratings)
    shown = pairs(protocol.fitted, True)
    for asked in protocol.asked.values():
        known, wanted = pairs(asked, True), pairs(asked, False)
        assert known
        assert wanted
        assert not wanted & (shown | known)
        for user in np.unique(asked.user[~asked.train]):
            theirs = asked.user == user
            assert asked.timestamp[theirs & asked.train].max() <= asked.timestamp[theirs & ~asked.train].min()
    inner = PROTOCOLS[name](protocol.fitted.select(protocol.fitted.train))
    assert pairs(inner.fitted, True) < shown, "settings are chosen inside of what is shown"


def test_what_is_known_of_whom(ratings):
    unseen, few = (PROTOCOLS[name](ratings) for name in ("unseen users", "few ratings"))
    new = unseen.asked["first 3"]
    assert not {user for user, _ in pairs(unseen.fitted, True)} & {user for user, _ in pairs(new, True)}
    for asked in (new, few.asked["latest 3"]):
        assert set(np.bincount(asked.user[asked.train])) <= {0, 3}
    left_out = PROTOCOLS["leave one out"](ratings).fitted
    assert set(np.bincount(left_out.user[~left_out.train])) == {1}
    assert left_out.stars[~left_out.train].min() >= 4
    dated = PROTOCOLS["after a date"](ratings).fitted
    assert dated.timestamp[dated.train].max() < dated.timestamp[~dated.train].min()

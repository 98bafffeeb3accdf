import numpy as np
import pytest

from schemas import ids


@pytest.mark.parametrize("largest", [60, 1 << 62], ids=["few numbers", "digests"])
def test_places_of_ids_among_others(largest):
    rng = np.random.default_rng(0)
    among = np.unique(np.append(rng.integers(0, largest, 40), largest))
    asked = np.concatenate([rng.permutation(among), [-1, largest + 1], rng.integers(0, largest, 100)])
    places = ids.places_of(asked, among)
    known = np.isin(asked, among)
    assert places.dtype == np.int32
    np.testing.assert_array_equal(among[places[known]], asked[known])
    assert (places[~known] == -1).all()
    assert (ids.places_of(asked, among[:0]) == -1).all()

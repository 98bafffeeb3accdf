import numpy as np
import pytest
import tensorflow as tf

from components.polars_example_gen.record_layout import RecordLayout

ROWS = 50
SPEC = {
    "vector": tf.io.FixedLenFeature([3], tf.float32),
    "scalar": tf.io.FixedLenFeature([1], tf.float32),
    "id": tf.io.FixedLenFeature([1], tf.int64),
    "pair": tf.io.FixedLenFeature([2], tf.int64),
}
LAYOUT = RecordLayout({"vector": 3, "scalar": 1}, {"id": 1, "pair": 2})


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    numbers = rng.integers(-(2**63), 2**63 - 1, (ROWS, 2))
    numbers[:6, 0] = [0, 1, -1, 127, 128, 2**62]
    return {
        "vector": rng.normal(size=(ROWS, 3)).astype(np.float32),
        "scalar": np.append(rng.normal(size=ROWS - 3), [np.inf, -0.0, 1e-42]).astype(np.float32),
        "id": rng.integers(0, 300_000, ROWS),
        "pair": numbers,
    }


@pytest.fixture
def examples(values, tmp_path):
    """What TensorFlow, which looks at the checksums, reads of the records."""
    records = LAYOUT.records(values)
    path = tmp_path / "records"
    path.write_bytes(records.view(np.uint8))
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def test_tensorflow_reads_the_values_back(values, examples):
    parsed = tf.io.parse_example(examples, SPEC)
    for name, value in values.items():
        np.testing.assert_array_equal(parsed[name].numpy(), value.reshape(ROWS, -1), name)


def test_protobuf_reads_the_values_back(values, examples):
    for row, example in enumerate(map(tf.train.Example.FromString, examples)):
        feature = example.features.feature
        assert set(feature) == set(SPEC)
        assert list(feature["pair"].int64_list.value) == values["pair"][row].tolist()
        assert list(feature["id"].int64_list.value) == [values["id"][row]]
        np.testing.assert_array_equal(np.float32(feature["vector"].float_list.value), values["vector"][row])


def test_a_changed_byte_is_found(values, tmp_path):
    records = LAYOUT.records(values)
    records["scalar"][7] += 1
    path = tmp_path / "records"
    path.write_bytes(records.view(np.uint8))
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset(str(path)))


def test_no_rows():
    assert len(LAYOUT.records({name: np.zeros((0, spec.shape[0])) for name, spec in SPEC.items()})) == 0

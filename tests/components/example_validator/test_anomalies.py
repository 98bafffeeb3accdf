from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.example_validator.anomalies import describe, read


def test_split_feature_and_reason_are_named(tmp_path):
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info["rating"].description = "Unexpectedly large value: 7."
    for split, content in (("train", anomalies), ("eval", anomalies_pb2.Anomalies())):
        (tmp_path / f"Split-{split}").mkdir()
        (tmp_path / f"Split-{split}" / "SchemaDiff.pb").write_bytes(content.SerializeToString())
    found = read(str(tmp_path))
    assert found == [("train", "rating", "Unexpectedly large value: 7.")]
    assert describe(found) == (
        "the examples break the schema. split train, feature rating: Unexpectedly large value: 7."
    )


def test_no_anomaly_is_found_in_an_empty_list(tmp_path):
    assert read(str(tmp_path)) == []

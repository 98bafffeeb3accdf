"""The curated schema and the features' table."""

import dataclasses
import pathlib

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from schemas import curated
from schemas import features as f
from schemas.data_spec import movielens


def test_the_file_is_what_the_table_says():
    found = pathlib.Path(curated.SCHEMA_PATH).read_text(encoding="utf-8")
    assert found == curated.schema_text(movielens()), "write it again with: python -m schemas.curated"


def test_a_new_row_is_in_the_schema(monkeypatch):
    row = f.Feature("movie_length", f.Side.MOVIE, 3, f.Scaling.Z_SCORE, (0.0, 900.0))
    monkeypatch.setattr(f, "FEATURES", (*f.FEATURES, row))
    monkeypatch.setattr(f, "MOVIE_FEATURES", (*f.MOVIE_FEATURES, row.name))
    monkeypatch.setattr(f, "BOUNDS", {**f.BOUNDS, row.name: row.bounds})
    schema = text_format.Parse(curated.schema_text(movielens()), schema_pb2.Schema())
    (added,) = (feature for feature in schema.feature if feature.name == row.name)
    assert (added.shape.dim[0].size, added.float_domain.max) == (3, 900.0)
    assert dataclasses.replace(row, bounds=None).bounds is None


def test_the_table_has_every_input_once_and_in_order():
    names = [feature.name for feature in f.FEATURES]
    assert len(set(names)) == len(names)
    assert names == [*f.USER_INPUTS, *f.MOVIE_INPUTS]
    assert {*f.USER_FEATURES, *f.MOVIE_FEATURES} <= set(names)

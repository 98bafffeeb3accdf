"""Beam's portable runner, SDK workers in processes of their own: the direct runner's results, also when one dies."""

import hashlib
import json
import pathlib
import sys

import polars as pl
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.polars_example_gen.config import ExampleGenConfig
from components.trainer.input import parse_spec
from pipeline.pipeline import IN_THIS_PROCESS
from schemas import features as f
from schemas.configuration import to_json
from schemas.data_spec import movielens
from tests import forked

pytestmark = pytest.mark.e2e

WORKER = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
PARTITIONS = {"rows_per_shard": 1_500, "chunk_bytes": 32_768}
"""Several shards and several chunks, so that both workers have work."""


def portable(worker):
    return [
        "--runner=PortableRunner",
        "--job_endpoint=embed",
        "--environment_type=beam:env:harness_subprocess_python:v1",
        f"--environment_config={worker}",
        "--sdk_worker_parallelism=2",
        "--direct_num_workers=2",
    ]


@pytest.fixture
def run(sample, tmp_path):
    """Run ExampleGen and Transform in a process; return where their artifacts are, and its exit status and output."""

    def run_it(name, beam_args=IN_THIS_PROCESS):
        root, config = tmp_path / name, to_json(ExampleGenConfig(**PARTITIONS))
        done = forked.run("-m tests.kubeflow.ingest", sample, root, config, json.dumps(list(beam_args)), timeout=300)
        return root, done

    return run_it


def canonical(record):
    """Serialise an example in one order of its features: protobuf's own differs from process to process."""
    return tf.train.Example.FromString(record).SerializeToString(deterministic=True)


def content(root):
    """What ExampleGen wrote: the records of each split, sorted, and the tables."""
    outputs = {key: root / key for key in ("examples", "movie_catalog", "user_histories")}
    found = {}
    for split in ("train", "eval"):
        paths = [str(path) for path in sorted(outputs["examples"].glob(f"Split-{split}/*"))]
        records = tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator()
        found[split] = sorted(hashlib.sha256(canonical(record)).hexdigest() for record in records)
    histories = pl.read_parquet(outputs["user_histories"] / "*.parquet")
    return {
        **found,
        "files": sorted(path.name for output in outputs.values() for path in output.rglob("*") if path.is_file()),
        "histories": histories.sort(f.USER_ID, f.MOVIE_ID).rows(),
        "catalog": pl.read_parquet(outputs["movie_catalog"] / "*.parquet").rows(),
    }


def transformed(root):
    """What Transform makes of the train examples."""
    paths = [str(path) for path in sorted(root.glob("examples/Split-train/*"))]
    records = sorted(map(canonical, tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator()))
    graph = tft.TFTransformOutput(str(root / "transform_graph"))
    values = graph.transform_features_layer()(tf.io.parse_example(records, parse_spec(movielens().num_categories)))
    return {name: value.numpy().tobytes() for name, value in values.items()}


def test_two_workers_give_the_direct_runners_results_to_the_bit_and_so_they_do_when_one_is_killed(run, tmp_path):
    direct, done = run("direct")
    assert done.returncode == 0, done.stdout[-3000:]
    expected, expected_values = content(direct), transformed(direct)
    assert len(expected["train"]) > 4_000

    two, done = run("two", portable(WORKER))
    assert done.returncode == 0, done.stdout[-3000:]
    assert content(two) == expected
    assert transformed(two) == expected_values

    # The killed worker fails the step, which a cluster then tries again over what is there.
    marker = tmp_path / "killed"
    dying = portable(f"{sys.executable} {pathlib.Path(__file__).with_name('dying_worker.py')} {marker}")
    _, done = run("killed_one", dying)
    assert (marker.exists(), done.returncode) == (True, 1)
    again, done = run("killed_one", dying)
    assert done.returncode == 0, done.stdout[-3000:]
    assert content(again) == expected
    assert transformed(again) == expected_values

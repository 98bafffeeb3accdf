"""Beam's portable runner, SDK workers in processes of their own: the direct runner's results, also when one dies."""

import hashlib
import pathlib
import sys

import polars as pl
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.input import PARSE_SPEC
from schemas import features as f
from tests.kubeflow_launcher import Launcher

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
def run(sample, compile_file, tmp_path):
    """Run the steps up to Transform; return them."""

    def run_it(name, beam_args=()):
        compiled = compile_file(str(sample), str(tmp_path / "serving"), beam_args=beam_args, retries=1, **PARTITIONS)
        launcher = Launcher(compiled.path, str(tmp_path / name), tmp_path / name)
        return launcher.run("run", until="Transform")

    return run_it


def canonical(record):
    """Serialise an example in one order of its features: protobuf's own differs from process to process."""
    return tf.train.Example.FromString(record).SerializeToString(deterministic=True)


def content(steps):
    """What ExampleGen wrote: the records of each split, sorted, and the tables."""
    outputs = {key: pathlib.Path(artifact["uri"]) for key, artifact in steps["PolarsExampleGen"].artifacts.items()}
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


def transformed(steps):
    """What Transform makes of the train examples."""
    examples = steps["PolarsExampleGen"].artifacts["examples"]["uri"]
    graph = steps["Transform"].artifacts["transform_graph"]["uri"]
    paths = [str(path) for path in sorted(pathlib.Path(examples).glob("Split-train/*"))]
    records = sorted(map(canonical, tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator()))
    values = tft.TFTransformOutput(graph).transform_features_layer()(tf.io.parse_example(records, PARSE_SPEC))
    return {name: value.numpy().tobytes() for name, value in values.items()}


def test_two_workers_give_the_direct_runners_results_to_the_bit_and_so_they_do_when_one_is_killed(run, tmp_path):
    direct = run("direct")
    expected, expected_values = content(direct), transformed(direct)
    assert len(expected["train"]) > 4_000

    two = run("two", portable(WORKER))
    assert content(two) == expected
    assert transformed(two) == expected_values

    marker = tmp_path / "killed"
    dying = pathlib.Path(__file__).with_name("dying_worker.py")
    killed = run("killed_one", portable(f"{sys.executable} {dying} {marker}"))
    assert marker.exists()
    assert (two["PolarsExampleGen"].attempts, killed["PolarsExampleGen"].attempts) == (1, 2)
    assert content(killed) == expected
    assert transformed(killed) == expected_values

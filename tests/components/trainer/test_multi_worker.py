"""Two workers on loopback, each a process that runs the Trainer's executor, beside one that trains alone."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.input import Order, batches, shard_paths
from components.trainer.multi_worker import Worker
from schemas import features as f
from schemas import signatures as s
from schemas.data_spec import movielens
from tests import forked
from tests.workspace import free_ports

# One batch an epoch, of all rows: in whatever order they come, the steps must be the same.
CONFIG = {
    "hidden_units": [16],
    "embedding_dim": 8,
    "dropout": 0,
    "retrieval_weight": 0,
    "thinned_share": 0,
    "learning_rate": 0.01,
    "ema_momentum": 0.5,
    "batch_size": 400,
    "shuffle_rows": 600,
    "epochs": 5,
    "refit_epochs": 2,
}
RUN = """
import json, sys, time
from tfx.types import standard_artifacts
from tfx.utils import json_utils
from components.trainer import executor
from schemas import artifacts

def artifact(cls, uri):
    made = cls()
    made.uri = uri
    return made

config, examples, transform, catalog, histories, output = sys.argv[1:]
data = artifact(standard_artifacts.Examples, examples)
data.split_names = '["train", "eval"]'
data.set_int_custom_property("train_examples", 400)
data.set_int_custom_property("eval_examples", 200)
outputs = {"model": [artifact(standard_artifacts.Model, f"{output}/model")],
           "model_run": [artifact(standard_artifacts.ModelRun, f"{output}/run")]}
graph = artifact(standard_artifacts.TransformGraph, transform)
begin = time.perf_counter()
executor.Executor().Do(
    {"examples": [data], "transform_graph": [graph],
     "movie_catalog": [artifact(artifacts.MovieCatalog, catalog)],
     "user_histories": [artifact(artifacts.UserHistories, histories)]},
    outputs,
    {
        "run_fn": "components.trainer.run_fn.run_fn",
        "train_args": '{"splits": ["train"]}',
        "eval_args": '{"splits": ["eval"]}',
        "custom_config": json_utils.dumps({}),
        "config": config,
    },
)
print("seconds", time.perf_counter() - begin)
"""


@pytest.fixture(scope="module")
def data(shards, tmp_path_factory):
    """Two train shards of 200 rows, and the third as eval."""
    root = tmp_path_factory.mktemp("examples")
    first, second, third = sorted(pathlib.Path(shards).parent.glob("*.gz"))
    for split, paths in (("train", (first, second)), ("eval", (third,))):
        (root / f"Split-{split}").mkdir()
        for path in paths:
            shutil.copy(path, root / f"Split-{split}")
    return root


def start(config, data, transform, tables, output, environment=None):
    graph = pathlib.Path(transform.transform_savedmodel_dir).parent
    variables = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
    return forked.start(RUN, json.dumps(config), data, graph, *tables, output, environment=variables)


def wait(*processes):
    outs = [process.communicate(timeout=300)[0] for process in processes]
    for process, out in zip(processes, outs, strict=True):
        assert process.returncode == 0, out[-3000:]


def cluster(index, ports):
    workers = [f"127.0.0.1:{port}" for port in ports]
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})}


def embed(output, saved_model=s.EVALUATED_DIR):
    """Embed a few users with an exported model."""
    signature = tf.saved_model.load(str(output / "model" / saved_model)).signatures[s.EMBED_USER]
    rng = np.random.default_rng(0)
    inputs = {
        name: tf.constant(rng.uniform(0, 5, (20, n)), tf.float32)
        for name, n in f.lengths(f.USER_FEATURES, movielens().num_categories).items()
    }
    inputs[f.USER_HISTORY_MOVIES] = tf.constant(rng.integers(0, 80, (20, 5)))
    inputs[f.USER_HISTORY_RATINGS] = tf.constant(rng.uniform(0, 5, (20, 5)), tf.float32)
    inputs[f.TIMESTAMP] = tf.constant(rng.integers(10**9, 2 * 10**9, (20, 1)))
    return signature(**inputs)[s.USER_EMBEDDING].numpy()


@pytest.mark.slow
def test_two_workers_train_what_one_does_and_only_the_chief_exports(data, transform, tables, tmp_path):
    wait(start(CONFIG, data, transform, tables, tmp_path / "one"))
    ports = free_ports(2)
    two = CONFIG | {"strategy": "multi_worker"}
    wait(*(start(two, data, transform, tables, tmp_path / f"worker{i}", cluster(i, ports)) for i in (0, 1)))
    one, both = (json.loads((tmp_path / name / "run/history.json").read_text()) for name in ("one", "worker0"))
    for name in ("loss", "mse", "val_loss"):
        np.testing.assert_allclose(both[name], one[name], rtol=1e-4, err_msg=name)
    assert (np.diff(one["loss"]) < 0).all()
    np.testing.assert_allclose(embed(tmp_path / "worker0"), embed(tmp_path / "one"), atol=1e-3)
    # Which 400 of the 600 ratings the refit's only step of an epoch sees is chance, and so are its weights.
    assert np.abs(embed(tmp_path / "worker0", s.PUBLISHED_DIR) - embed(tmp_path / "worker0")).max() > 1e-3
    assert not (tmp_path / "worker1").exists()


def movie_ids(shards, row_inputs, worker):
    data = batches(shard_paths([shards], worker), row_inputs, Order(100)).unbatch()
    return sorted(int(inputs[f.MOVIE_ID][0]) for inputs, _ in data)


def test_each_worker_reads_its_own_shards(shards, row_inputs):
    whole = movie_ids(shards, row_inputs, Worker())
    first, second = (movie_ids(shards, row_inputs, Worker(i, 2)) for i in (0, 1))
    assert (len(whole), len(first), len(second)) == (600, 400, 200)
    assert sorted(first + second) == whole
    with pytest.raises(ValueError, match="4 workers for 3 shards"):
        shard_paths([shards], Worker(0, 4))

"""The executor on real artifacts in a temporary directory, through Beam's direct runner."""

import json
import os
import pathlib
import shutil

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts

from components.polars_example_gen import checks, executor, graph, shards
from components.polars_example_gen.config import ExampleGenConfig
from components.trainer.input import parse_spec
from pipeline.pipeline import IN_THIS_PROCESS
from schemas import artifacts, keys
from schemas import features as f
from schemas.configuration import CONFIG, to_json
from schemas.data_spec import movielens
from schemas.ingest import IS_TRAIN
from schemas.user_features import PSEUDO_RATINGS


def run(data: pathlib.Path, root: pathlib.Path, known_until_s: int | None = None, **options) -> dict:
    """Run the executor; return the output artifacts."""
    inputs = {}
    if known_until_s is not None:
        base = artifacts.BaseModel()
        base.set_int_custom_property(keys.VERSION, 7)
        base.set_int_custom_property(keys.LATEST_S, known_until_s)
        inputs = {keys.BASE_MODEL: [base]}
    types = {
        "examples": standard_artifacts.Examples,
        keys.MOVIE_CATALOG: artifacts.MovieCatalog,
        keys.USER_HISTORIES: artifacts.UserHistories,
    }
    outputs = {}
    for key, cls in types.items():
        artifact = cls()
        artifact.uri = str(root / key)
        pathlib.Path(artifact.uri).mkdir(parents=True)
        outputs[key] = [artifact]
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=IN_THIS_PROCESS, tmp_dir=str(root / "tmp"), unique_id="1"
    )
    config = to_json(ExampleGenConfig(**options))
    executor.Executor(context).Do(inputs, outputs, {"input_base": str(data), CONFIG: config})
    return {key: artifact[0] for key, artifact in outputs.items()}


def examples(artifact, split: str) -> pl.DataFrame:
    """Parse a split, in the order of its files."""
    paths = sorted(str(path) for path in pathlib.Path(artifact.uri).glob(f"Split-{split}/*"))
    records = list(tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator())
    spec = {**parse_spec(movielens().num_categories), **{name: tf.io.FixedLenFeature([1], tf.int64) for name in f.IDS}}
    values = tf.io.parse_example(records, spec)
    return pl.DataFrame({name: np.squeeze(value.numpy()) for name, value in values.items()})


@pytest.fixture(scope="module")
def ingested(sample, tmp_path_factory):
    """The sample, in three shards."""
    return run(sample, tmp_path_factory.mktemp("ingested"), rows_per_shard=2_000)


def test_the_artifacts_follow_the_contract(ingested, sample):
    ratings = pl.read_csv(sample / "ratings.csv")
    artifact = ingested["examples"]
    summary = json.loads(artifact.get_string_custom_property(keys.EXAMPLES_SUMMARY))
    assert json.loads(artifact.split_names) == ["train", "eval", "train_sample", "eval_sample"]
    assert artifact.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    assert artifact.get_string_custom_property("file_format") == "tfrecords_gzip"
    assert summary["train"] + summary["eval"] == ratings.height
    assert (summary["users"], summary["movies"], summary["bad_rows"]) == (ratings["userId"].n_unique(), 300, {})
    shards = summary["shards"]
    assert shards > 1
    for split in json.loads(artifact.split_names):
        names = sorted(path.name for path in pathlib.Path(artifact.uri, f"Split-{split}").iterdir())
        assert names == [f"data_tfrecord-{i:05d}-of-{shards:05d}.gz" for i in range(shards)]


def test_examples_equal_the_formula(ingested, sample):
    """Every feature, worked out again from the CSV files by joins and loops."""
    history = pl.concat([pl.read_parquet(p) for p in pathlib.Path(ingested[keys.USER_HISTORIES].uri).glob("*.parquet")])
    assert history.height == pl.read_csv(sample / "ratings.csv").height
    catalog = pl.read_parquet(pathlib.Path(ingested[keys.MOVIE_CATALOG].uri, "movies.parquet"))
    train = history.filter(IS_TRAIN)
    mean = train[f.RATING].mean()
    genres = {row[0]: np.array(row[1]) for row in catalog.select(f.MOVIE_ID, f.MOVIE_GENRES).iter_rows()}
    of_genre = np.stack([genres[m] for m in train[f.MOVIE_ID]])
    genre_means = (of_genre * train[f.RATING].to_numpy()[:, None]).sum(0) / np.maximum(of_genre.sum(0), 1)
    genre_means = np.where(of_genre.sum(0) > 0, genre_means, mean)
    k = PSEUDO_RATINGS
    for split in ("train", "eval"):
        for row in examples(ingested["examples"], split).sample(40, seed=1).iter_rows(named=True):
            known = train.filter(
                (pl.col(f.USER_ID) == row[f.USER_ID]) & ~((pl.col(f.MOVIE_ID) == row[f.MOVIE_ID]) & (split == "train"))
            )
            own = np.stack([genres[m] for m in known[f.MOVIE_ID]])
            count = own.sum(0)
            average = ((own * known[f.RATING].to_numpy()[:, None]).sum(0) + k * genre_means) / (count + k)
            np.testing.assert_allclose(row[f.USER_GENRE_RATING], average, atol=1e-4)
            np.testing.assert_array_equal(row[f.USER_GENRE_COUNT], count)
            others = train.filter(
                (pl.col(f.MOVIE_ID) == row[f.MOVIE_ID]) & ~((pl.col(f.USER_ID) == row[f.USER_ID]) & (split == "train"))
            )
            assert row[f.MOVIE_NUM_RATINGS] == others.height
            assert row[f.MOVIE_AVERAGE_RATING] == pytest.approx(
                ((others[f.RATING].sum() or 0) + k * mean) / (others.height + k), abs=1e-4
            )
            np.testing.assert_array_equal(row[f.MOVIE_GENRES], genres[row[f.MOVIE_ID]])


def test_neither_chunks_nor_partitions_change_the_examples(ingested, sample, tmp_path):
    order = [f.USER_ID, f.MOVIE_ID]
    expected = {split: examples(ingested["examples"], split).sort(order) for split in ("train", "eval")}
    other = run(sample, tmp_path / "other", rows_per_shard=900, chunk_bytes=1024)
    for split, frame in expected.items():
        assert examples(other["examples"], split).sort(order).equals(frame)


def test_shards_are_shuffled_by_seed(ingested, sample, tmp_path):
    first = examples(ingested["examples"], "train")
    head = first[f.USER_ID].head(50)
    assert head.n_unique() > 15, "a batch must not be one user"
    again = run(sample, tmp_path / "again", rows_per_shard=2_000)
    assert examples(again["examples"], "train").equals(first)
    seeded = run(sample, tmp_path / "seeded", rows_per_shard=2_000, shuffle_seed=1)
    assert not examples(seeded["examples"], "train")[f.MOVIE_ID].equals(first[f.MOVIE_ID])


@pytest.mark.parametrize("cores", [1, 9, 64])
def test_the_number_of_cores_changes_nothing(ingested, sample, tmp_path, monkeypatch, cores):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    other = run(sample, tmp_path, rows_per_shard=2_000)["examples"]
    for split in ("train", "eval"):
        assert examples(other, split).equals(examples(ingested["examples"], split))


def test_the_samples_of_little_data_are_all_of_it(ingested):
    for split in ("train", "eval"):
        assert examples(ingested["examples"], f"{split}_sample").equals(examples(ingested["examples"], split))


def test_samples_are_copied_where_there_are_no_links(ingested, sample, tmp_path, monkeypatch):
    def link(source, target):
        raise OSError("Operation not permitted")

    monkeypatch.setattr(shards.os, "link", link)
    copied = run(sample, tmp_path, rows_per_shard=2_000)["examples"]
    for artifact, links in ((ingested["examples"], 2), (copied, 1)):
        (first, *_) = pathlib.Path(artifact.uri, "Split-train_sample").iterdir()
        assert first.stat().st_nlink == links
    assert examples(copied, "train_sample").equals(examples(ingested["examples"], "train"))


def test_the_samples_are_random_rows_at_one_rate(ingested, sample, tmp_path):
    sampled = run(sample, tmp_path, rows_per_shard=2_000, sample_rows=1_000)["examples"]
    train, held = examples(sampled, "train"), examples(sampled, "eval")
    assert train.equals(examples(ingested["examples"], "train")), "what is trained on does not depend on the sample"
    part, held_part = (examples(sampled, f"{split}_sample") for split in ("train", "eval"))
    assert part.height == pytest.approx(1_000, abs=5)
    assert held_part.height == pytest.approx(held.height * 1_000 / train.height, abs=5)
    key = [f.USER_ID, f.MOVIE_ID]
    assert part.join(train, on=train.columns, how="semi").height == part.select(key).unique().height == part.height
    assert part[f.RATING].mean() == pytest.approx(train[f.RATING].mean(), abs=0.15)


def test_where_training_goes_on_new_ratings_become_examples_and_some_old_ones(ingested, sample, tmp_path):
    train, held = (examples(ingested["examples"], split) for split in ("train", "eval"))
    since = int(train[f.TIMESTAMP].quantile(0.9))
    found = run(sample, tmp_path, since, rows_per_shard=2_000, replay_rows=1_000)
    key = [f.USER_ID, f.MOVIE_ID]
    for split, every in (("train", train), ("eval", held)):
        some = examples(found["examples"], split)
        assert some.join(every, on=every.columns, how="semi").height == some.height, "the same examples as ever"
        assert some.select(key).is_duplicated().sum() == 0
        new, old = (some.filter(is_new) for is_new in (pl.col(f.TIMESTAMP) > since, pl.col(f.TIMESTAMP) <= since))
        assert new.height == every.filter(pl.col(f.TIMESTAMP) > since).height > 0
        expected = every.filter(pl.col(f.TIMESTAMP) <= since).height * 1_000 / train.height
        assert old.height == pytest.approx(expected, rel=0.15, abs=5)
        assert examples(found["examples"], f"{split}_sample").height == every.height, "constants come of all"
        assert found["examples"].get_int_custom_property(f"{split}_examples") == some.height
        assert found["examples"].get_int_custom_property(split) == every.height
    for name in (keys.MOVIE_CATALOG, keys.USER_HISTORIES):
        for path in pathlib.Path(ingested[name].uri).iterdir():
            assert (pathlib.Path(found[name].uri) / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_zip_and_parquet_give_the_same_examples(ingested, sample, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", sample)
    parquet = tmp_path / "parquet"
    parquet.mkdir()
    for name in ("ratings", "movies"):
        pl.read_csv(sample / f"{name}.csv").write_parquet(parquet / f"{name}.parquet", row_group_size=1_000)
    order = [f.USER_ID, f.MOVIE_ID]
    expected = examples(ingested["examples"], "train").sort(order)
    for i, data in enumerate((archive, parquet)):
        assert examples(run(data, tmp_path / str(i))["examples"], "train").sort(order).equals(expected)


BAD = "userId,movieId,rating,timestamp\n" + "".join(f"1,{m},3.5,10{m}\n" for m in range(1, 9))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("2,1,7,100\n", "ratings.csv, line 10: '2,1,7,100' has a rating off the scale"),
        ("1,3,4,100\n", "ratings.csv, line 10: '1,3,4,100' rates a movie that the same user has rated already"),
    ],
)
def test_a_bad_row_rejects_the_input(write_data, tmp_path, extra, message):
    with pytest.raises(checks.BadInputError) as error:
        run(write_data(BAD + extra), tmp_path / "out")
    assert str(error.value).startswith(message)
    assert "Beam" not in str(error.value)


def test_drop_counts_and_leaves_out(write_data, tmp_path):
    data = write_data(BAD + "2,1,7,100\n1,3,4,200\n2,2,2,x\n3,1,4.5,7\n")
    outputs = run(data, tmp_path / "out", on_bad_rows=checks.DROP, max_bad_rows=0.5)
    summary = json.loads(outputs["examples"].get_string_custom_property(keys.EXAMPLES_SUMMARY))
    assert summary["bad_rows"] == {checks.DUPLICATE: 1, checks.OFF_SCALE: 1, checks.UNREADABLE: 1}
    assert outputs["examples"].get_int_custom_property("bad_rows") == 3
    frame = examples(outputs["examples"], "train")
    assert frame.height == 8
    assert summary["eval"] == 1, "nobody has ten: of who has two one is held out"
    kept = pl.concat(map(pl.read_parquet, pathlib.Path(outputs["user_histories"].uri).glob("histories-*.parquet")))
    assert kept.filter((pl.col(f.USER_ID) == 1) & (pl.col(f.MOVIE_ID) == 3))[f.RATING].item() == 4, "the latest stays"
    with pytest.raises(checks.BadInputError, match="3 of 12 rows are bad"):
        run(data, tmp_path / "limit", on_bad_rows=checks.DROP, max_bad_rows=0.2)


def test_partitions_are_even_and_stable():
    places = graph.partition_of(np.arange(100_000), 16)
    counts = np.bincount(places, minlength=16)
    assert counts.min() > 0.9 * counts.mean()
    assert graph.partition_of(np.array([1, 2, 3, 2**40]), 7).tolist() == [6, 1, 1, 0]


@pytest.mark.parametrize(
    "values", [{"on_bad_rows": "ignore"}, {"max_bad_rows": 2.0}, {"rows_per_shard": 0}, {"chunk_bytes": 1}]
)
def test_values_out_of_range(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        ExampleGenConfig(**values)


def test_the_component_names_its_outputs_and_carries_its_configuration():
    from components.polars_example_gen.component import PolarsExampleGen

    component = PolarsExampleGen("data", ExampleGenConfig(min_ratings=7))
    assert set(component.outputs) == {"examples", keys.MOVIE_CATALOG, keys.USER_HISTORIES}
    assert json.loads(component.exec_properties[CONFIG])["min_ratings"] == 7

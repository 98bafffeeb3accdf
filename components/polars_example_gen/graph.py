"""The Beam graph: chunks of ratings to user partitions, their statistics, and the shards of the artifacts.

An element is a whole Polars frame (Arrow IPC bytes), never a row. The graph is the same for one machine and for a
cluster; a partition of users is the most that a worker holds at a time.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import polars as pl
import tensorflow as tf
from pydantic import TypeAdapter

from components import progress
from components.polars_example_gen import checks, movie_features, ratings, shards
from components.polars_example_gen.chunks import Chunk
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.header import SCHEMA, Header, schema_of
from components.polars_example_gen.source import Source
from components.polars_example_gen.split import split_by_time
from components.polars_example_gen.withdrawn import without
from schemas import features as f
from schemas.domain import Domain
from schemas.ids import check_distinct
from schemas.ingest import (
    CATALOG_FILE,
    CONSTANTS_FILE,
    EXAMPLES,
    HISTORIES_PREFIX,
    IS_TRAIN,
    SAMPLES,
    USER_KEY,
    USERS_PREFIX,
)
from schemas.user_features import FeatureConstants

REPORT_FILE = "report.json"
REJECTED_DIR = "rejected"
_REPORTS, _STATISTICS = "reports", "statistics"


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that the workers need to know."""

    headers: dict[Source, Header]
    """The ratings table's files, and their columns."""
    expected_rows: int
    """Rows of the table, about."""
    partitions: int
    """Number of user partitions, and so of shards."""
    config: ExampleGenConfig
    """How the table is read and split."""
    domain: Domain
    """What the data set is about."""
    examples_uri: str
    catalog_uri: str
    histories_uri: str
    tmp_dir: str
    known_until_s: int | None = None
    """Where training goes on from a model: the time of the latest rating that it has seen. Later ones become examples,
    and of the others some."""
    repeats: str = "bad"
    """What a second rating of one movie by one user is; see `schemas.data_spec.RatingsSpec`."""
    hold_one: bool = False
    """Whether of users with too few ratings for a share of them the last one is held out."""

    @property
    def schema(self) -> dict[str, type[pl.DataType]]:
        """Columns and types of a frame of ratings."""
        return schema_of(self.config.data_spec)

    @property
    def movies_path(self) -> str:
        """File of the movies without statistics, for the workers."""
        return f"{self.tmp_dir}/movies.arrow"

    @property
    def withdrawn_path(self) -> str:
        """File of what was taken back, for the workers."""
        return f"{self.tmp_dir}/withdrawn.arrow"

    def shard(self, directory: str, prefix: str, partition: int, suffix: str) -> str:
        """Name a shard as TFX does: prefix-00000-of-00004.suffix."""
        return f"{directory}/{prefix}-{partition:05d}-of-{self.partitions:05d}{suffix}"


def pack(frame: pl.DataFrame) -> bytes:
    """Serialise a frame for Beam."""
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="lz4")
    return buffer.getvalue()


def unpack(data: bytes) -> pl.DataFrame:
    """Restore a frame from `pack`."""
    return pl.read_ipc(io.BytesIO(data))


def partition_of(user_ids: np.ndarray, partitions: int) -> np.ndarray:
    """Spread user ids over partitions by a multiplicative hash (Knuth), the same on every machine."""
    mixed = user_ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(32)) % np.uint64(partitions)).astype(np.int64)


class MoviesDoFn(beam.DoFn):
    """Knows the job and the movies, which the worker reads from a file.

    In the DoFn itself Beam would pickle and compress them many times over.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        """Read the movies without statistics, sorted by movie."""
        with tf.io.gfile.GFile(self._job.movies_path, "rb") as file:
            self._movies = unpack(file.read())


class ReadChunk(MoviesDoFn):
    """Chunk -> (partition, frame of its ratings); bad rows go to the report or reject the input."""

    def process(self, chunk: Chunk) -> Iterator:
        """Read, check and partition one chunk."""
        ids, longest = self._movies[f.MOVIE_ID].to_numpy(), self._job.config.max_line_bytes
        frame, report = ratings.read_chunk(chunk, self._job.headers[chunk.source], ids, longest)
        reject_if_bad(self._job, report)
        progress.advance("read", report.rows, "rows", self._job.expected_rows)
        yield beam.pvalue.TaggedOutput(_REPORTS, json.dumps({"report": report.to_dict()}))
        if frame.height:
            keyed = frame.with_columns(_partition=partition_of(frame[f.USER_ID].to_numpy(), self._job.partitions))
            for (partition,), part in keyed.partition_by("_partition", as_dict=True, include_key=False).items():
                yield partition, pack(part)


class SplitPartition(beam.DoFn):
    """(partition, frames) -> (partition, one frame, sorted and split); statistics of its train ratings."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        """Read what was taken back."""
        with tf.io.gfile.GFile(self._job.withdrawn_path, "rb") as file:
            self._withdrawn = unpack(file.read())

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator:
        """Join a partition's frames, leave out what was taken back, drop duplicates, split by time."""
        partition, parts = element
        frames = [unpack(part) for part in parts]
        every = without(pl.concat([pl.DataFrame(schema=self._job.schema), *frames]), self._withdrawn)
        joined, duplicates = ratings.drop_duplicates(every)
        if duplicates.height and self._job.repeats == "bad":
            report = self._report(duplicates)
            reject_if_bad(self._job, report)
            yield beam.pvalue.TaggedOutput(_REPORTS, json.dumps({"report": report.to_dict()}))
        split = split_by_time(joined, self._job.config, self._job.hold_one)
        statistics = movie_features.movie_statistics(split.filter(IS_TRAIN))
        yield beam.pvalue.TaggedOutput(_STATISTICS, pack(statistics))
        yield partition, pack(split)

    def _report(self, duplicates: pl.DataFrame) -> checks.Report:
        job = self._job
        samples: tuple[checks.BadRow, ...] = ()
        if job.config.on_bad_rows == checks.FAIL:  # To find the line the whole table is read again: only for an error.
            user, movie = duplicates.row(0)[:2]
            samples = (ratings.locate_duplicate(job.headers, user, movie, job.config.chunk_bytes),)
        return checks.Report(0, {checks.DUPLICATE: duplicates.height}, samples)


class WritePartition(MoviesDoFn):
    """(partition, frame) -> its shard of each artifact."""

    def process(self, element: tuple[int, bytes], statistics: bytes) -> Iterator[str]:
        """Compute features, encode and write."""
        partition, data = element
        job, frame = self._job, unpack(data)
        table = unpack(statistics)
        catalog, constants = featurise_catalog(self._movies, table, job.domain)
        share = min(1.0, job.config.sample_rows / table["count"].sum())
        counts = {"users": frame[f.USER_ID].n_unique()}
        if job.domain.text_user_ids:
            users = frame.select(f.USER_ID, USER_KEY).unique().sort(f.USER_ID)
            check_distinct(users[USER_KEY], users[f.USER_ID])
            path = job.shard(job.histories_uri, USERS_PREFIX, partition, ".parquet")
            shards.write_parquet(users, path, job.tmp_dir)
            frame = frame.drop(USER_KEY)
        ratings_of_partition = shards.Partition(frame, catalog, constants)
        replayed = min(1.0, float(job.config.replay_rows / table["count"].sum()))
        for split, sample in SAMPLES.items():
            every = ratings_of_partition.rows(split, job.config.shuffle_seed, partition)
            rows = every
            if job.known_until_s is not None:
                is_new = frame[f.TIMESTAMP].to_numpy()[every] > job.known_until_s
                rows = every[is_new | (np.arange(len(every)) < round(len(every) * replayed))]
            path, sample_path = (
                job.shard(f"{job.examples_uri}/Split-{name}", "data_tfrecord", partition, ".gz")
                for name in (split, sample)
            )
            shards.write_examples(shards.encode(ratings_of_partition, split, rows), path, job.tmp_dir)
            if share < 1 or len(rows) < len(every):
                some = every[: round(len(every) * share)]
                shards.write_examples(shards.encode(ratings_of_partition, split, some), sample_path, job.tmp_dir)
            else:
                shards.link_examples(path, sample_path, job.tmp_dir)
            counts |= {split: len(every), EXAMPLES[split]: len(rows)}
        path = job.shard(job.histories_uri, HISTORIES_PREFIX, partition, ".parquet")
        shards.write_parquet(frame, path, job.tmp_dir)
        written = sum(counts[name] for name in EXAMPLES.values())
        progress.advance("write", written, "rows", job.expected_rows if job.known_until_s is None else None)
        yield json.dumps({"counts": counts})


class WriteCatalog(MoviesDoFn):
    """Statistics -> the movie catalogue and the feature constants."""

    def process(self, _: None, statistics: bytes) -> None:
        """Write both files."""
        catalog, constants = featurise_catalog(self._movies, unpack(statistics), self._job.domain)
        shards.write_parquet(catalog, f"{self._job.catalog_uri}/{CATALOG_FILE}", self._job.tmp_dir)
        with tf.io.gfile.GFile(f"{self._job.catalog_uri}/{CONSTANTS_FILE}", "w") as file:
            file.write(json.dumps(TypeAdapter(FeatureConstants).dump_python(constants, mode="json"), indent=1))


def featurise_catalog(
    catalog: pl.DataFrame, statistics: pl.DataFrame, domain: Domain
) -> tuple[pl.DataFrame, FeatureConstants]:
    """Add the movies' statistics to the catalogue; return it with the feature constants."""
    constants = movie_features.feature_constants(statistics, catalog, domain)
    return movie_features.movie_features(catalog, statistics, constants), constants


def reject_if_bad(job: Job, report: checks.Report) -> None:
    """Reject the input from a worker.

    Beam wraps a worker's exception beyond recognition, so that the message is left in a file for the executor.
    """
    if report.bad_rows and job.config.on_bad_rows == checks.FAIL:
        directory = f"{job.tmp_dir}/{REJECTED_DIR}"
        tf.io.gfile.makedirs(directory)
        name = f"{report.samples[0].line:012d}.json"
        with tf.io.gfile.GFile(f"{directory}/{name}", "w") as file:
            file.write(json.dumps(report.to_dict()))
        checks.enforce([report], job.config.on_bad_rows, 0.0)


def read_rejection(tmp_dir: str) -> checks.Report | None:
    """Return the report that rejected the input, the earliest line first, or None."""
    paths = sorted(tf.io.gfile.glob(f"{tmp_dir}/{REJECTED_DIR}/*.json"))
    if not paths:
        return None
    with tf.io.gfile.GFile(paths[0]) as file:
        return checks.Report.from_dict(json.loads(file.read()))


def _merge_statistics(parts: Iterable[bytes]) -> bytes:
    frames = [unpack(part) for part in parts]
    empty = movie_features.movie_statistics(pl.DataFrame(schema=SCHEMA))
    return pack(movie_features.merge_statistics([empty, *frames]))


def _merge_results(parts: Iterable[str]) -> str:
    reports: list[checks.Report] = []
    counts: dict[str, int] = {}
    for part in map(json.loads, parts):
        if "report" in part:
            reports.append(checks.Report.from_dict(part["report"]))
        for key, value in part.get("counts", {}).items():
            counts[key] = counts.get(key, 0) + value
    return json.dumps({"report": checks.merge_reports(reports).to_dict(), "counts": counts})


def build(
    root: beam.Pipeline, job: Job, chunk_list: list[Chunk], catalog: pl.DataFrame, withdrawn: pl.DataFrame
) -> None:
    """Add the graph to a Beam pipeline.

    Args:
      root: The pipeline.
      job: What to do.
      chunk_list: Parts of the ratings table.
      catalog: Movies without statistics, sorted by movie.
      withdrawn: What was taken back; see `withdrawn.read_withdrawn`.
    """
    tf.io.gfile.makedirs(job.tmp_dir)
    for path, frame in ((job.movies_path, catalog), (job.withdrawn_path, withdrawn)):
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(pack(frame))
    read = (
        root
        | "Chunks" >> beam.Create(chunk_list)
        | "SpreadChunks" >> beam.Reshuffle()
        | "ReadChunk" >> beam.ParDo(ReadChunk(job)).with_outputs(_REPORTS, main="rows")
    )
    # An empty frame for each partition, so that no shard is missing where the hash gave it no user.
    empty = pack(pl.DataFrame(schema=job.schema))
    every = root | "EveryPartition" >> beam.Create([(i, empty) for i in range(job.partitions)])
    split = (
        (read.rows, every)
        | "JoinPartitions" >> beam.Flatten()
        | "GroupByPartition" >> beam.GroupByKey()
        | "SplitPartition" >> beam.ParDo(SplitPartition(job)).with_outputs(_REPORTS, _STATISTICS, main="split")
    )
    statistics = beam.pvalue.AsSingleton(split[_STATISTICS] | "Statistics" >> beam.CombineGlobally(_merge_statistics))
    written = split.split | "WritePartition" >> beam.ParDo(WritePartition(job), statistics)
    _ = root | "Once" >> beam.Create([None]) | "WriteCatalog" >> beam.ParDo(WriteCatalog(job), statistics)
    _ = (
        (read[_REPORTS], split[_REPORTS], written)
        | "Results" >> beam.Flatten()
        | "MergeResults" >> beam.CombineGlobally(_merge_results)
        | "WriteReport" >> beam.Map(_write_text, f"{job.tmp_dir}/{REPORT_FILE}")
    )


def _write_text(text: str, path: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)

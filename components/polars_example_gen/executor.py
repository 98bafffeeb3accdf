"""Executor of PolarsExampleGen: artifacts and exec properties in, one Beam graph run, properties out."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import polars as pl
import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs

from components.polars_example_gen import checks, graph, ratings, source
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.chunks import Chunk, cut
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.header import read_headers
from components.polars_example_gen.links import add_links
from components.polars_example_gen.withdrawn import read_withdrawn
from schemas import configuration, ingest, keys
from schemas import features as f
from schemas.domain import Domain

_TEMPORARY = ".temp"
"""Directory inside the examples for what is being written; it is gone at the end. Readers look at Split-* alone."""
_BYTES_PER_ROW = 30
"""A line of ratings.csv, to guess the number of rows from the size."""


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads a data set and writes examples, movie catalogue and user histories."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the artifacts.

        Args:
          input_dict: `base_model`, if training may go on from one.
          output_dict: `examples`, `movie_catalog`, `user_histories`.
          exec_properties: `input_base`; `config`, the JSON of an `ExampleGenConfig`.

        Raises:
          ValueError: A value of the configuration is out of its range.
          BadInputError: The input breaks the policy on bad rows, or a table is missing, empty or lacks a column.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        # On the artifact's file system, which every worker reaches, and from where a rename is one step.
        tmp_dir = f"{examples.uri}/{_TEMPORARY}"
        try:
            summary = self._run(_known_until_s(input_dict), output_dict, exec_properties, tmp_dir)
        finally:
            if tf.io.gfile.exists(tmp_dir):
                tf.io.gfile.rmtree(tmp_dir)
        _publish(examples, summary, exec_properties)
        logging.info("wrote %s", summary)

    def _run(
        self,
        known_until_s: int | None,
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
        tmp_dir: str,
    ) -> dict[str, Any]:
        """Run the Beam graph; return the counts, and what the checks found and left out."""
        config = configuration.from_properties(ExampleGenConfig, exec_properties)
        policy = config.on_bad_rows, config.max_bad_rows
        data = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        sources = source.find_sources(
            data, f"{tmp_dir}/unpacked", config.max_unpacked_ratio, config.data_spec, config.span_window
        )
        catalog, movie_report, domain = read_movies(sources[source.MOVIES], config.max_movies_bytes, config.data_spec)
        catalog = add_links(catalog, sources.get(source.LINKS), config.data_spec.links, domain.text_item_ids)
        withdrawn = read_withdrawn(sources.get(source.WITHDRAWN), domain)
        # In spans a later rating of a movie takes the place of the one before.
        repeats = "latest" if ingest.SPAN in data else config.data_spec.ratings.repeats
        job = dataclasses.replace(
            _job(sources[source.RATINGS], output_dict, config, domain, tmp_dir),
            known_until_s=known_until_s,
            repeats=repeats,
        )
        chunks = [
            chunk
            for file, header in job.headers.items()
            for chunk in cut(file, header, config.chunk_bytes, config.max_line_bytes)
        ]
        if movie_report.bad_rows:
            # What is wrong with the ratings is said with it, as far as a first look tells.
            ids = catalog[f.MOVIE_ID].to_numpy()
            _, look = ratings.read_chunk(chunks[0], job.headers[chunks[0].source], ids, config.max_line_bytes)
            checks.enforce([movie_report, look] if config.on_bad_rows == checks.FAIL else [movie_report], *policy)
        results = self._build(job, chunks, catalog, withdrawn)
        if not results["counts"].get(ingest.EVAL) and config.eval_after_s is None:
            logging.info("no user has enough ratings to hold a share of them out: of two and more the last one is")
            job = dataclasses.replace(job, hold_one=True)
            results = self._build(job, chunks, catalog, withdrawn)
        rating_report = checks.Report.from_dict(results["report"])
        checks.enforce([rating_report], *policy)
        return {
            **results["counts"],
            "movies": catalog.height,
            "categories": domain.num_categories,
            "years_imputed": catalog[ingest.YEAR].null_count(),
            "bad_rows": checks.merge_reports([rating_report, movie_report]).counts,
            "shards": job.partitions,
            "hold_one": job.hold_one,
            "timed": domain.timed,
        }

    def _build(
        self, job: graph.Job, chunks: list[Chunk], catalog: pl.DataFrame, withdrawn: pl.DataFrame
    ) -> dict[str, Any]:
        """Run the graph; return its counts and its report."""
        rejection = None
        try:
            with self._make_beam_pipeline() as root:
                graph.build(root, job, chunks, catalog, withdrawn)
        except Exception:
            rejection = graph.read_rejection(job.tmp_dir)
            if rejection is None:
                raise
        if rejection is not None:
            checks.enforce([rejection], checks.FAIL, 0.0)
        with tf.io.gfile.GFile(f"{job.tmp_dir}/{graph.REPORT_FILE}") as file:
            results: dict[str, Any] = json.loads(file.read())
        return results


def _known_until_s(input_dict: dict[str, list[types.Artifact]]) -> int | None:
    """Return the time of the latest rating that the model to go on from has seen; None where there is none."""
    for base in input_dict.get(keys.BASE_MODEL, ()):
        if base.get_int_custom_property(keys.VERSION):
            return int(base.get_int_custom_property(keys.LATEST_S))
    return None


def _job(
    table: source.Source,
    output_dict: dict[str, list[types.Artifact]],
    config: ExampleGenConfig,
    domain: Domain,
    tmp_dir: str,
) -> graph.Job:
    def uri(key: str) -> str:
        return artifact_utils.get_single_uri(output_dict[key])

    rows = table.size() / (_BYTES_PER_ROW if table.format == "csv" else _BYTES_PER_ROW / 4)
    return graph.Job(
        headers=read_headers(table, config.max_line_bytes, config.data_spec),
        expected_rows=round(rows),
        partitions=max(1, math.ceil(rows / config.rows_per_shard)),
        config=config,
        domain=domain,
        examples_uri=uri(standard_component_specs.EXAMPLES_KEY),
        catalog_uri=uri(keys.MOVIE_CATALOG),
        histories_uri=uri(keys.USER_HISTORIES),
        tmp_dir=tmp_dir,
    )


def _publish(examples: types.Artifact, summary: dict[str, Any], exec_properties: dict[str, Any]) -> None:
    examples.splits = [*ingest.SAMPLES, *ingest.SAMPLES.values()]
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    examples.set_int_custom_property(utils.SPAN_PROPERTY_NAME, exec_properties.get(utils.SPAN_PROPERTY_NAME) or 0)
    examples.set_string_custom_property(keys.EXAMPLES_SUMMARY, json.dumps(summary, sort_keys=True))
    for key in (ingest.TRAIN, ingest.EVAL, *ingest.EXAMPLES.values(), "users", "movies", "years_imputed"):
        examples.set_int_custom_property(key, summary[key])
    examples.set_int_custom_property("bad_rows", sum(summary["bad_rows"].values()))

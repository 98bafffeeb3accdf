"""PolarsExampleGen's and Transform's executors on a data set, as a process runs them.

python ingest.py DATA ROOT CONFIG BEAM_ARGS     CONFIG: JSON of an ExampleGenConfig; BEAM_ARGS: JSON list
"""

import json
import pathlib
import sys

from tfx.components import Transform
from tfx.components.transform import executor as transform_executor
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import transform_pb2
from tfx.types import channel_utils, standard_artifacts
from tfx.utils import proto_utils

from components.polars_example_gen import executor
from components.transform.preprocessing import PREPROCESSING_FN
from schemas import artifacts, keys
from schemas.configuration import CONFIG
from schemas.curated import SCHEMA_PATH
from schemas.ingest import SAMPLES, TRAIN


def main(data, root, config, beam_args):
    """Write the artifacts to directories under `root` that are named for them."""

    def artifact(cls, name):
        made = cls()
        made.uri = f"{root}/{name}"
        pathlib.Path(made.uri).mkdir(parents=True, exist_ok=True)
        return [made]

    context = BaseBeamExecutor.Context(beam_pipeline_args=json.loads(beam_args), tmp_dir=f"{root}/tmp", unique_id="1")
    outputs = {
        "examples": artifact(standard_artifacts.Examples, "examples"),
        keys.MOVIE_CATALOG: artifact(artifacts.MovieCatalog, keys.MOVIE_CATALOG),
        keys.USER_HISTORIES: artifact(artifacts.UserHistories, keys.USER_HISTORIES),
    }
    executor.Executor(context).Do({}, outputs, {"input_base": data, CONFIG: config})
    schema = artifact(standard_artifacts.Schema, "schema")
    pathlib.Path(schema[0].uri, "schema.pbtxt").write_text(pathlib.Path(SCHEMA_PATH).read_text())
    splits = transform_pb2.SplitsConfig(analyze=[SAMPLES[TRAIN]])
    component = Transform(
        examples=channel_utils.as_channel(outputs["examples"]),
        schema=channel_utils.as_channel(schema),
        preprocessing_fn=PREPROCESSING_FN,
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
    )
    graph = artifact(standard_artifacts.TransformGraph, "transform_graph")
    transform_executor.Executor(context).Do(
        {"examples": outputs["examples"], "schema": schema},
        {"transform_graph": graph},
        {**component.exec_properties, "splits_config": proto_utils.proto_to_json(splits)},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

"""LocalDagRunner that tells what it does and leaves nothing half-written."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import filelock
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.local import local_dag_runner
from tfx.orchestration.local import runner_utils as local_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from pipeline import preflight
from pipeline.config import RunConfig
from pipeline.pipeline import Parameters, create_pipeline
from schemas import keys
from schemas.scratch import scratch
from serving.store import ServingStore

ARTIFACTS_DIR = "artifacts"
METADATA_FILE = "metadata.sqlite"
_LOCK_FILE = ".lock"
_ID_FILE = ".serving-dir-id"

_State = metadata_store_pb2.Execution


@dataclasses.dataclass(frozen=True)
class NodeResult:
    """What became of one component."""

    node: str
    cached: bool
    seconds: float
    artifacts: dict[str, metadata_store_pb2.Artifact]
    """Output key -> artifact."""


class ComponentFailed(RuntimeError):
    """A component raised; `node` names it and the cause is chained."""

    def __init__(self, node: str, error: BaseException) -> None:
        super().__init__(f"{node}: {error}")
        self.node, self.error = node, error


class LocalRunner(local_dag_runner.LocalDagRunner):
    """Runs the components one after the other in this process, as LocalDagRunner does, and reports each.

    LocalDagRunner has no hook around a component, so that its loop is written again here.
    """

    def __init__(self, on_start: Callable[[str], None], on_end: Callable[[NodeResult], None]) -> None:
        super().__init__()
        self._on_start, self._on_end = on_start, on_end
        self.results: list[NodeResult] = []

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None) -> None:
        """Run every component in topological order.

        Raises:
          ComponentFailed: A component raised.
        """
        del run_options
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {"pipeline-run-id": datetime.datetime.now().isoformat()}
        )
        deployment = local_utils.extract_local_deployment_config(pipeline)
        connection = deployment.metadata_connection_config
        connection = getattr(connection, connection.WhichOneof("connection_config"))
        for entry in pipeline.nodes:
            node = entry.pipeline_node
            name = node.node_info.id
            self._on_start(name)
            begin = time.perf_counter()
            try:
                info = launcher.Launcher(
                    pipeline_node=node,
                    mlmd_connection=metadata.Metadata(connection),
                    pipeline_info=pipeline.pipeline_info,
                    pipeline_runtime_spec=pipeline.runtime_spec,
                    executor_spec=local_utils.extract_executor_spec(deployment, name),
                    custom_driver_spec=local_utils.extract_custom_driver_spec(deployment, name),
                ).launch()
            except Exception as error:
                raise ComponentFailed(name, error) from error
            with metadata.Metadata(connection) as handle:
                cached, artifacts = _outputs(handle.store, info.execution_id)
            self.results.append(NodeResult(name, cached, time.perf_counter() - begin, artifacts))
            self._on_end(self.results[-1])


def _outputs(store: Any, execution_id: int) -> tuple[bool, dict[str, metadata_store_pb2.Artifact]]:
    (execution,) = store.get_executions_by_id([execution_id])
    events = [
        event
        for event in store.get_events_by_execution_ids([execution_id])
        if event.type in (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
    ]
    artifacts = {a.id: a for a in store.get_artifacts_by_id([event.artifact_id for event in events])}
    keyed = {event.path.steps[0].key: artifacts[event.artifact_id] for event in events}
    return execution.last_known_state == _State.CACHED, keyed


@contextlib.contextmanager
def _exclusive(output: pathlib.Path) -> Iterator[None]:
    """Hold the output directory: two runs in one would remove each other's unfinished artifacts."""
    output.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(output / _LOCK_FILE, timeout=0):
            yield
    except filelock.Timeout:
        raise ValueError(f"another run is using {output}; wait for it, or pass another --output") from None


def remove_unfinished(output: pathlib.Path) -> list[str]:
    """Remove the directories of executions that did not finish: interrupted, failed or killed ones.

    Args:
      output: Output directory of the runs; no run may be using it.

    Returns:
      The directories that were removed.
    """
    root = output / ARTIFACTS_DIR
    if not (output / METADATA_FILE).exists():
        return []
    with metadata.Metadata(_connection(output)) as handle:
        finished = {e.id for e in handle.store.get_executions() if e.last_known_state == _State.COMPLETE}
    removed = []
    for path in [*root.glob("*/*/*"), *root.glob("*/.system/*/*")]:
        if path.is_dir() and path.name.isdigit() and int(path.name) not in finished:
            shutil.rmtree(path)
            removed.append(str(path))
    return removed


def serving_dir_id(serving_dir: str) -> str:
    """Return the id of a local serving root, made at its first use; empty for a URI.

    The cache of gate and Pusher is keyed by it, so that a root which was deleted is filled again.
    """
    if "://" in serving_dir:
        return ""
    path = pathlib.Path(serving_dir) / _ID_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    # A full disk leaves an empty file.
    if not path.exists() or not path.read_text(encoding="ascii"):
        path.write_text(uuid.uuid4().hex, encoding="ascii")
    return path.read_text(encoding="ascii")


def run(
    config: RunConfig,
    data: str,
    output: str,
    serving_dir: str,
    enable_cache: bool = True,
    on_start: Callable[[str], None] = lambda node: None,
    on_end: Callable[[NodeResult], None] = lambda result: None,
    user_id: str | None = None,
) -> dict[str, NodeResult]:
    """Run the pipeline on this machine.

    Args:
      config: Configuration of the run.
      data: Directory, zip or URI of the data set.
      output: Directory of artifacts and metadata.
      serving_dir: Path or URI of the served versions.
      enable_cache: Whether unchanged components are skipped.
      on_start: Called with a component's name before it runs.
      on_end: Called with its result.
      user_id: The user that the summary will be about.

    Returns:
      Component name -> result.

    Raises:
      ComponentFailed: A component raised.
      ValueError: Another run uses the output directory, an option cannot work, or the data is too small for one.
    """

    def ended(result: NodeResult) -> None:
        on_end(result)
        if result.node == "PolarsExampleGen":
            histories = pathlib.Path(result.artifacts[keys.USER_HISTORIES].uri)
            preflight.check_data(config, preflight.read_summary(result.artifacts["examples"]), histories, user_id)

    base = pathlib.Path(output).absolute()
    with _exclusive(base), scratch():
        remove_unfinished(base)
        pipeline = create_pipeline(
            config,
            Parameters(
                data=data if "://" in data else str(pathlib.Path(data).absolute()),
                serving_dir=serving_dir if "://" in serving_dir else str(pathlib.Path(serving_dir).absolute()),
            ),
            pipeline_root=str(base / ARTIFACTS_DIR),
            serving_dir_id=serving_dir_id(serving_dir),
            served_version=str(ServingStore(serving_dir).latest() or "") if config.warm_start.warm_start else "",
            metadata_connection_config=_connection(base),
            enable_cache=enable_cache,
        )
        runner = LocalRunner(on_start, ended)
        try:
            runner.run(pipeline)
        finally:
            remove_unfinished(base)
    return {result.node: result for result in runner.results}


def _connection(output: pathlib.Path) -> metadata_store_pb2.ConnectionConfig:
    return metadata.sqlite_metadata_connection_config(str(output / METADATA_FILE))

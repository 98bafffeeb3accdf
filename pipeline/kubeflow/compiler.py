"""The pipeline as a file for Kubeflow Pipelines 2 and Vertex AI.

TFX's runner writes the specification. What it has no words for, or what open-source Kubeflow Pipelines does not
implement, is put right in the result: retries, caching, resources of the example generator, and its driver.
"""

from __future__ import annotations

import copy
import pathlib
from typing import Any

import yaml
from tfx.orchestration.data_types import RuntimeParameter

from components.polars_example_gen import source
from components.polars_example_gen.component import DATA_FINGERPRINT
from components.polars_example_gen.config import ExampleGenConfig
from pipeline.config import RunConfig
from pipeline.kubeflow import kfp_missing
from pipeline.kubeflow.config import KubeflowConfig, Resources
from pipeline.kubeflow.parameters import DATA, RUNTIME_SECTIONS, config_parameter
from pipeline.pipeline import Parameters, create_pipeline
from schemas.configuration import to_json
from schemas.keys import SERVING_DIR

_COMMAND = ("python", "-m", "pipeline.kubeflow.step")
_OPTIONAL = {"Tuner", "WarmStart", "BulkRecommender"}
"""Components that may be named in the configuration of a pipeline without them."""
_NEVER_CACHED = ("WarmStart", "EvaluationGate", "Pusher", "BulkRecommender")
"""They look at what is served now, which no cache key knows."""


def compile_pipeline(config: RunConfig, data: str, serving_dir: str) -> list[dict[str, Any]]:
    """Compile the pipeline.

    Args:
      config: Configuration of the run and of the cluster.
      data: Default of the parameter `data`: directory, zip or URI that the steps can read.
      serving_dir: Default of the parameter `serving_dir`.

    Returns:
      The documents of the YAML file: the pipeline's specification and, with an image pull policy, Kubernetes' part.

    Raises:
      RuntimeError: kfp is not installed.
      ValueError: The configuration lacks an image, or names a component that there is none of.
    """
    if not config.kubeflow.image:
        raise ValueError("no image; pass --image name@sha256:<digest>, the image that the Dockerfile builds")
    runner = _import_runner()
    data_fingerprint = fingerprint(data, config.data)
    parameters = Parameters(
        data=RuntimeParameter(DATA, str, data),
        serving_dir=RuntimeParameter(SERVING_DIR, str, serving_dir),
        configs={
            section: RuntimeParameter(config_parameter(section), str, to_json(getattr(config, section)))
            for section in RUNTIME_SECTIONS
        },
        data_fingerprint=RuntimeParameter(DATA_FINGERPRINT, str, data_fingerprint),
    )
    pipeline = create_pipeline(config, parameters, config.kubeflow.pipeline_root)
    job = runner.KubeflowV2DagRunner(
        runner.KubeflowV2DagRunnerConfig(
            default_image=config.kubeflow.image, default_commands=list(_COMMAND), use_pipeline_spec_2_1=True
        )
    ).run(pipeline, write_out=False)
    # A plain copy: the protobuf's lists and maps are no YAML.
    spec = copy.deepcopy(job["pipelineSpec"])
    _set_defaults(spec, parameters)
    # Without a fingerprint, changed data under the same URI would hit the cache.
    unknown = ("PolarsExampleGen",) if not data_fingerprint else ()
    _adapt(spec, config.kubeflow, _NEVER_CACHED + unknown)
    return [spec, *_kubernetes(spec, config.kubeflow)]


def write(documents: list[dict[str, Any]], path: str) -> None:
    """Write the documents as YAML; the same documents give the same bytes."""
    pathlib.Path(path).write_text(yaml.safe_dump_all(documents, sort_keys=True), encoding="utf-8")


def fingerprint(data: str, config: ExampleGenConfig | None = None) -> str:
    """Hash the data where this machine can read it; empty where it cannot, or where none is named."""
    config = config or ExampleGenConfig()
    try:
        return source.fingerprint(data, config.data_spec, config.span_window) if data else ""
    except Exception:  # A store's client has exceptions of its own; the steps may reach what this machine does not.
        return ""


def _import_runner() -> Any:
    try:
        from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
    except ImportError as error:
        raise kfp_missing("compiling", error, "The compiled file runs in an image of any version") from None
    return kubeflow_v2_dag_runner


def _set_defaults(spec: dict[str, Any], parameters: Parameters) -> None:
    """Declare the parameters' defaults, which TFX leaves out; data and serving root without one must be given."""
    declared = spec["root"]["inputDefinitions"]["parameters"]
    given = dict(vars(parameters))
    for parameter in (*given.pop("configs").values(), *given.values()):
        # Without an optional component in the pipeline nothing reads its section.
        if parameter.name in declared and (parameter.default != "" or parameter.name == DATA_FINGERPRINT):
            declared[parameter.name] |= {"defaultValue": parameter.default, "isOptional": True}


def _adapt(spec: dict[str, Any], config: KubeflowConfig, uncached: tuple[str, ...]) -> None:
    if config.pipeline_root:
        spec["defaultPipelineRoot"] = config.pipeline_root
    tasks, executors = spec["root"]["dag"]["tasks"], spec["deploymentSpec"]["executors"]
    if unknown := config.resources.keys() - tasks.keys() - _OPTIONAL:
        raise ValueError(f"resources: there is no component {min(unknown)!r}; expected some of {', '.join(tasks)}")
    for name, task in tasks.items():
        if config.retries:
            task["retryPolicy"] = {
                "maxRetryCount": config.retries,
                "backoffDuration": f"{config.retry_wait_s}s",
                "backoffFactor": 2.0,
                "backoffMaxDuration": "3600s",
            }
        if name in uncached:
            task.pop("cachingOptions", None)
        container = executors[spec["components"][name]["executorLabel"]]["container"]
        # TFX's driver, which Vertex AI would run: it knows no zip, and the fingerprint is a parameter already.
        container.pop("lifecycle", None)
        wanted = config.resources.get(name, Resources())
        container["resources"] = {"cpuLimit": wanted.cpu, "memoryLimit": wanted.memory_gib * 2**30 / 1e9}
        if wanted.gpus:
            container["resources"]["accelerator"] = {"type": config.gpu_type, "count": str(wanted.gpus)}


def _kubernetes(spec: dict[str, Any], config: KubeflowConfig) -> list[dict[str, Any]]:
    if not config.image_pull_policy:
        return []
    executors = {label: {"imagePullPolicy": config.image_pull_policy} for label in spec["deploymentSpec"]["executors"]}
    return [{"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}]

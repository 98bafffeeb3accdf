"""Configuration of a compiled pipeline."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN


@dataclass(frozen=True, config=FROZEN)
class Resources:
    """What a component's container may take, at most."""

    cpu: Annotated[float, Field(gt=0)] = 1.0
    """Cores."""
    memory_gib: Annotated[float, Field(gt=0)] = 4.0
    """Memory in GiB."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs."""


def _default_resources() -> dict[str, Resources]:
    large = Resources(cpu=4, memory_gib=16)
    names = "PolarsExampleGen Transform Tuner Trainer EvaluationGate Pusher BulkRecommender"
    return dict.fromkeys(names.split(), large)


def _by_digest(image: str) -> str:
    if image and not re.fullmatch(r"[^\s@]+@sha256:[0-9a-f]{64}", image):
        raise ValueError("expected name@sha256: and 64 hexadecimal digits, as docker push prints them")
    return image


@dataclass(frozen=True, config=FROZEN)
class KubeflowConfig:
    """How the compiled pipeline runs on a cluster."""

    image: Annotated[str, AfterValidator(_by_digest)] = ""
    """Image of the steps by digest, name@sha256:<64 hexadecimal digits>."""
    pipeline_root: str = ""
    """URI of the artifacts, unless the run names another."""
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a failed step is tried again."""
    retry_wait_s: Annotated[int, Field(ge=0)] = 30
    """Seconds before the first retry; doubled for each further one."""
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    """Kubernetes' image pull policy; unset leaves it to the cluster, and the file runs on Vertex AI as well."""
    gpu_type: str = "nvidia.com/gpu"
    """Kubernetes' resource name of a GPU; on Vertex AI a type such as NVIDIA_TESLA_T4."""
    resources: dict[str, Resources] = dataclasses.field(default_factory=_default_resources)
    """Component name -> cpu, memory_gib and gpus; a component that is not named gets 1 core and 4 GiB."""

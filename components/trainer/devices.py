"""What trains: the GPU or the CPU, and what is done differently on either."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
from tensorflow.python.client import device_lib

from components.trainer.config import TrainerConfig

_GIB = 1 << 30
_HOST_GIB = 1.0
_MEMORY_SHARE = 0.4
"""Of a GPU's memory, for rows, of which a refit has two sets for a while; the rest is for tables, weights and steps."""
_GPU_STEPS_PER_CALL, _CPU_STEPS_PER_CALL = 100, 20


@dataclasses.dataclass(frozen=True)
class Device:
    """What trains."""

    is_gpu: bool
    resident_bytes: float
    """Rows of up to so many bytes are kept in its memory."""

    @property
    def compiles(self) -> bool:
        """Whether XLA compiles the steps: on a CPU a step takes a third longer with it (docs/quality.md)."""
        return self.is_gpu

    @property
    def steps_per_call(self) -> int:
        """Steps that one call computes in a loop, at most."""
        return _GPU_STEPS_PER_CALL if self.is_gpu else _CPU_STEPS_PER_CALL


def of(config: TrainerConfig) -> Device:
    """Return what trains with a configuration; called before TensorFlow has used a device.

    Raises:
      ValueError: A GPU is asked for and there is none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if config.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        gpus = []
    if config.device == "gpu" and not gpus:
        raise ValueError("device is gpu and TensorFlow sees none; install matinee[gpu], or use --device cpu")
    if config.resident_gib is not None:
        return Device(bool(gpus), config.resident_gib * _GIB)
    if gpus:
        memory = min(device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU")
        return Device(is_gpu=True, resident_bytes=memory * _MEMORY_SHARE)
    return Device(is_gpu=False, resident_bytes=_HOST_GIB * _GIB)

"""TensorFlow Serving over gRPC: an extra, because its messages need the whole of TensorFlow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from schemas import signatures as s
from schemas.user_features import Features
from schemas.vectors import Vectors
from serving.config import TowerConfig
from serving.tf_serving.resilience import Resilience
from serving.user_tower import TowerError, check_answer

_KINDS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: ("timeout", True),
    grpc.StatusCode.UNAVAILABLE: ("connection", True),
    # Of a server that ends: a call that this side cancels has no status.
    grpc.StatusCode.CANCELLED: ("connection", True),
    grpc.StatusCode.NOT_FOUND: ("not_loaded", False),
}


# Without the limit a server that was down for a while is looked for once in two minutes. With a pool of its own a new
# channel makes a new connection: from the shared one it would get the old connection, and its pause.
_OPTIONS = [("grpc.max_reconnect_backoff_ms", 1000), ("grpc.use_local_subchannel_pool", 1)]
_Method = Callable[["_Connection"], Any]


class _Connection:
    """A channel and what is called through it."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.worked = False


class GrpcUserTowers:
    """The user towers of a TensorFlow Serving, over one channel."""

    def __init__(self, target: str, config: TowerConfig) -> None:
        """Prepare a client; it connects at the first request.

        Args:
          target: Such as `localhost:8500`.
          config: Time-outs and retries.
        """
        self.target, self._timeout_s = target, config.timeout_s
        self._resilience = Resilience(f"grpc://{target}", config)
        self._connection: _Connection | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def retry_after_s(self) -> float:
        """Seconds until the server is asked again; 0 while it answers."""
        return self._resilience.retry_after_s

    async def open(self, version: int) -> GrpcUserTower:
        """Return the tower of a version that TensorFlow Serving has loaded; see `UserTowers`."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(version))
        status = await self.call(lambda connection: connection.model.GetModelStatus, request)
        states = {entry.version: entry.state for entry in status.model_version_status}
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        if states.get(version) != available:
            raise TowerError(f"grpc://{self.target} has not loaded version {version} yet", "not_loaded")
        return GrpcUserTower(self, version)

    async def close(self) -> None:
        """Close the channel."""
        if self._connection is not None:
            await self._connection.channel.close()
        await asyncio.gather(*self._closing)

    async def call(self, method: _Method, request: Any) -> Any:
        """Call a method of a connection, and again on a new one after a transient failure.

        Raises:
          TowerError: There is no usable answer.
        """
        return await self._resilience.call(lambda: self._call_once(method, request))

    async def _call_once(self, method: _Method, request: Any) -> Any:
        # Made here and not before: a channel belongs to the event loop in which it is made.
        connection = self._connection = self._connection or _Connection(self.target)
        try:
            answer = await method(connection)(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            kind, transient = _KINDS.get(error.code(), ("refused", False))
            lost = kind == "connection"
            if lost:
                self._drop(connection)
            message = f"grpc://{self.target} answered {error.code().name}: {error.details()}"
            raise TowerError(message, kind, transient=transient, ended=lost and connection.worked) from error
        connection.worked = True
        return answer

    def _drop(self, connection: _Connection) -> None:
        """Use another connection from now on: the server has ended this one, which would wait to connect again."""
        if self._connection is connection:
            self._connection = None
            # Others may still be answered through it.
            task = asyncio.create_task(connection.channel.close(self._timeout_s))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class GrpcUserTower:
    """One version of the user tower behind TensorFlow Serving."""

    def __init__(self, towers: GrpcUserTowers, version: int) -> None:
        self._towers, self._version = towers, version

    async def embed(self, features: Features) -> Vectors:
        """Embed users; see `AsyncUserEmbedder`."""
        request = predict_pb2.PredictRequest(model_spec=_spec(self._version, s.EMBED_USER))
        for name, value in features.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer = await self._towers.call(lambda connection: connection.prediction.Predict, request)
        where = f"grpc://{self._towers.target}"
        if answer.model_spec.version.value != self._version:
            raise TowerError(
                f"{where} answered with version {answer.model_spec.version.value}, asked for {self._version}", "answer"
            )
        outputs = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
        return check_answer(outputs, len(next(iter(features.values()))), where)


def _spec(version: int, signature: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=s.USER_TOWER, signature_name=signature)
    spec.version.value = version
    return spec

"""Clients of TensorFlow Serving, over REST and gRPC."""

from __future__ import annotations

from serving.config import TowerConfig
from serving.user_tower import UserTowers

_REST, _GRPC = ("http://", "https://"), "grpc://"


def connect(config: TowerConfig) -> UserTowers:
    """Return a client for the address in a configuration; it connects at the first request.

    Raises:
      ValueError: The address is neither http:// nor grpc://.
      RuntimeError: gRPC is asked for and not installed.
    """
    address = (config.tf_serving or "").rstrip("/")
    if address.startswith(_REST):
        from serving.tf_serving.rest import RestUserTowers

        return RestUserTowers(address, config)
    if address.startswith(_GRPC):
        try:
            from serving.tf_serving.grpc import GrpcUserTowers
        except ModuleNotFoundError as error:
            raise RuntimeError(f"gRPC needs {error.name}: pip install 'matinee[grpc]', or use http://") from None
        return GrpcUserTowers(address.removeprefix(_GRPC), config)
    raise ValueError(f"tf_serving is {config.tf_serving!r}, expected http://host:8501 or grpc://host:8500")

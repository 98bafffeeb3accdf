"""TensorFlow Serving over REST (https://www.tensorflow.org/tfx/serving/api_rest)."""

from __future__ import annotations

import httpx
import numpy as np

from schemas import signatures as s
from schemas.user_features import Features
from schemas.vectors import Vectors
from serving.config import TowerConfig
from serving.tf_serving.resilience import Resilience
from serving.user_tower import TowerError, check_answer

_AVAILABLE = "AVAILABLE"


class RestUserTowers:
    """The user towers of a TensorFlow Serving, over pooled connections."""

    def __init__(self, url: str, config: TowerConfig) -> None:
        """Prepare a client; it connects at the first request.

        Args:
          url: Such as `http://localhost:8501`.
          config: Time-outs and retries.
        """
        self.url = url
        self._resilience = Resilience(url, config)
        self._client = httpx.AsyncClient(
            base_url=f"{url}/v1/models/{s.USER_TOWER}/versions/",
            timeout=config.timeout_s,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
        )

    @property
    def retry_after_s(self) -> float:
        """Seconds until the server is asked again; 0 while it answers."""
        return self._resilience.retry_after_s

    async def open(self, version: int) -> RestUserTower:
        """Return the tower of a version that TensorFlow Serving has loaded; see `UserTowers`."""
        status = await self.send("GET", str(version))
        try:
            (state,) = (entry["state"] for entry in status["model_version_status"] if int(entry["version"]) == version)
        except (KeyError, TypeError, ValueError):
            raise TowerError(f"{self.url} answered {status!r} when asked for version {version}", "answer") from None
        if state != _AVAILABLE:
            raise TowerError(f"{self.url} has not loaded version {version} yet (state {state})", "not_loaded")
        return RestUserTower(self, version)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, method: str, path: str, body: dict | None = None) -> dict:
        """Send a request, again after a transient failure.

        Args:
          method: GET or POST.
          path: Behind `/v1/models/user_tower/versions/`.
          body: JSON body.

        Raises:
          TowerError: There is no usable answer.
        """
        return await self._resilience.call(lambda: self._send_once(method, path, body))

    async def _send_once(self, method: str, path: str, body: dict | None) -> dict:
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.TimeoutException as error:
            raise TowerError(
                f"{self.url} did not answer within {self._client.timeout.read:g} s", "timeout", transient=True
            ) from error
        except httpx.TransportError as error:
            ended = not isinstance(error, httpx.ConnectError)
            message = f"cannot reach TensorFlow Serving at {self.url}: {error}"
            raise TowerError(message, "connection", transient=True, ended=ended) from error
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response)
        try:
            return response.json()
        except ValueError as error:
            raise TowerError(f"{self.url} answered no JSON: {response.text[:100]!r}", "answer") from error

    def _refusal(self, response: httpx.Response) -> TowerError:
        message = f"{self.url} answered {response.status_code} to {response.request.url.path}: {response.text[:200]}"
        if response.status_code == httpx.codes.NOT_FOUND:
            return TowerError(f"{message}. It must serve the version of the index in use", "not_loaded")
        return TowerError(message, "refused", transient=response.status_code >= 500)


class RestUserTower:
    """One version of the user tower behind TensorFlow Serving."""

    def __init__(self, towers: RestUserTowers, version: int) -> None:
        self._towers, self._path = towers, f"{version}:predict"

    async def embed(self, features: Features) -> Vectors:
        """Embed users; see `AsyncUserEmbedder`."""
        inputs = {name: value.tolist() for name, value in features.items()}
        answer = await self._towers.send("POST", self._path, {"signature_name": s.EMBED_USER, "inputs": inputs})
        try:
            vectors = {name: np.array(value, np.float32) for name, value in answer["outputs"].items()}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise TowerError(f"{self._towers.url} answered no embeddings: {str(answer)[:100]}", "answer") from None
        return check_answer(vectors, len(next(iter(features.values()))), self._towers.url)

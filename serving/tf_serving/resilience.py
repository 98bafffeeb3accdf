"""Bounded retries and a circuit breaker around calls to TensorFlow Serving."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from circuitbreaker import CircuitBreaker
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from serving.config import TowerConfig
from serving.user_tower import TowerError

_Answer = TypeVar("_Answer")


class Resilience:
    """What every call to one server goes through."""

    def __init__(self, where: str, config: TowerConfig) -> None:
        """Start with a closed circuit; `where` names the server in errors."""
        self._where = where
        # A server that answers "not loaded yet" works: only failures that may pass by themselves open the circuit.
        self._breaker = CircuitBreaker(
            config.failures_to_open, config.recovery_s, lambda _, error: _is_transient(error), name=where
        )
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(config.attempts),
            # Drawn from [0, backoff * 2 ** attempt): clients that failed together do not come back together.
            wait=wait_random_exponential(multiplier=config.backoff_s, max=config.timeout_s),
            retry=retry_if_exception(_is_transient),
            reraise=True,
        )

    @property
    def retry_after_s(self) -> float:
        """Seconds until the server is asked again; 0 while the circuit is closed."""
        return max(float(self._breaker.open_remaining), 1.0) if self._breaker.opened else 0.0

    async def call(self, function: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Call, and call again after a transient failure.

        Raises:
          TowerError: The last failure, or the circuit is open.
        """
        return await self._retrying.copy()(self._guarded, function)

    async def _guarded(self, function: Callable[[], Awaitable[_Answer]]) -> _Answer:
        if self._breaker.opened:
            raise TowerError(
                f"{self._where} failed {self._breaker.failure_count} times in a row and is left alone for now; last: "
                f"{self._breaker.last_failure}",
                "circuit_open",
                self.retry_after_s,
            )
        return await self._breaker.call_async(_on_a_new_connection_too, function)


async def _on_a_new_connection_too(function: Callable[[], Awaitable[_Answer]]) -> _Answer:
    # All that is under way on a connection fails together when it is ended: one event, and no sign of a server that is
    # away.
    try:
        return await function()
    except TowerError as error:
        if not error.ended:
            raise
    return await function()


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, TowerError) and error.transient

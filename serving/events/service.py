"""Events for a service: written together with those that wait, and read without holding up the event loop."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio.to_thread

from serving.batching import Batches
from serving.changes import Changes
from serving.events.model import Event

if TYPE_CHECKING:
    from serving.events.store import EventStore

_MOST_TOGETHER = 500


class Events:
    """The events of a service, in its event loop."""

    def __init__(self, store: EventStore) -> None:
        """Use a database."""
        self._store = store
        self._writes = Batches[Sequence[Event], list[bool]](_MOST_TOGETHER, one_at_a_time=True)

    async def add(self, events: Sequence[Event]) -> list[bool]:
        """Write events; see `EventStore.add`. Those of others who wait go with them, with one flush to the disk.

        Raises:
          EventStoreError: They could not be written.
        """
        return await self._writes.ask(events, self._write)

    async def _write(self, parts: Sequence[Sequence[Event]]) -> list[list[bool]]:
        every = [event for part in parts for event in part]
        found = iter(await anyio.to_thread.run_sync(self._store.add, every))
        return [[next(found) for _ in part] for part in parts]

    async def of_user(self, user_id: str) -> Changes | None:
        """Return what a user's events change.

        Raises:
          EventStoreError: They cannot be read.
        """
        if self._store.is_file:  # A tenth of a millisecond: shorter than the way to a thread and back.
            return self._store.of_user(user_id)
        return await anyio.to_thread.run_sync(self._store.of_user, user_id)

    def close(self) -> None:
        """Close all connections."""
        self._store.close()


def kept(where: str) -> Events:
    """Return the events in a database; see `store.url_of`.

    Raises:
      ValueError: What it needs is not installed, or it is no address.
    """
    return Events(opened(where))


def opened(where: str, is_there: bool = False) -> EventStore:
    """Return a database of events.

    Args:
      where: See `store.url_of`.
      is_there: Whether it must be there already: a name that is misspelt is none of an empty database.

    Raises:
      ValueError: As `kept`, or it is not there.
    """
    try:
        from serving.events.store import EventStore
    except ModuleNotFoundError as error:
        raise ValueError(f'events need {error.name}: pip install "matinee[events]"') from None
    if is_there and "://" not in where and not pathlib.Path(where).is_file():
        raise ValueError(f"there are no events in {where}: no such file; pass the one of matinee serve --events")
    return EventStore(where)

"""What the supervisor and its workers tell each other: one JSON object a line, over a pair of sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

Message = dict[str, Any]
"""`do` says what it is about."""

PREPARE = "prepare"
"""To every worker: load what is staged in `directory`, `version`; answered by PREPARED with `problem` and `waits`.

This and what follows names a `slot`: MAIN, the version of everybody, or TRIED, that of a share of the users."""
PREPARED = "prepared"
USE = "use"
"""To every worker: take the prepared `version` into use; answered by USING. Of the leader: have all of them do that."""
USING = "using"
DROP = "drop"
"""Of the leader, and to every worker: no version is tried any more."""
LEAD = "lead"
"""To one worker: look out for versions, and stage what you find below `directory`."""
STAGED = "staged"
"""Of the leader: `version` lies in `directory`; answered by PREPARED once every worker has it."""
PROBLEM = "problem"
"""Of the leader, and to every worker: why there is no version in use, `problem`."""
DAMAGED = "damaged"
"""Of a worker, and to the leader: a file of `version` has changed."""
FAILED = "failed"
"""Of a worker: it cannot serve at all, because of `problem`."""
MAIN, TRIED = "main", "tried"
PING, PONG = "ping", "pong"
"""To a worker, and of it: its event loop runs."""


class Channel:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See `open`."""
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        """Talk over one end of `socket.socketpair`."""
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, do: str, **values: object) -> None:
        """Send a message; what the other side has left behind is not waited for, it is told by `receive`."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps({"do": do, **values}).encode() + b"\n")

    async def receive(self) -> Message | None:
        """Return the next message; None once the other side is gone."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        if not line.endswith(b"\n"):
            return None
        message: Message = json.loads(line)
        return message

    def close(self) -> None:
        """End the conversation."""
        self._writer.close()

"""The terminal during a run: one line a component, everything else in a log file."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from components.progress import LOGGER
from serving.console import terminal_console

_STATE_STYLES = {"done": "green", "cached": "cyan", "failed": "bold red", "stopped": "yellow"}


@contextlib.contextmanager
def redirected_to(log: pathlib.Path) -> Iterator[Console]:
    """Send standard output and error, those of C++ code as well, to a log file.

    Args:
      log: File to append to.

    Yields:
      A console on the terminal as it was.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal, error = os.dup(1), os.dup(2)
    with open(log, "ab", buffering=0) as file, _text(os.dup(terminal)) as stream:
        handler = logging.FileHandler(log, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root, level = logging.getLogger(), logging.getLogger().level
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield terminal_console(stream)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(terminal, 1)
            os.dup2(error, 2)
            os.close(terminal)
            os.close(error)
            root.removeHandler(handler)
            root.setLevel(level)


def _text(descriptor: int) -> TextIO:
    """Open a descriptor in the encoding of standard output: PYTHONIOENCODING, or the locale's."""
    return os.fdopen(descriptor, "w", encoding=sys.stdout.encoding or "utf-8", errors="replace")


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drop what C++ code writes to standard error: TensorFlow 2.21's start-up notices heed no variable.

    Python's exceptions are not affected.
    """
    sys.stderr.flush()
    error = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(error, 2)
        os.close(error)


def elapsed(seconds: float) -> str:
    """Word a time: 42 s, 1 min 34 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@dataclasses.dataclass
class Stage:
    """A part of a component's work."""

    begin_s: float
    done: int = 0
    total: int | None = None

    def progress(self, now_s: float) -> str:
        """Return how much is done, how fast, and how long the rest will take."""
        rate = self.done / max(now_s - self.begin_s, 1e-3)
        if not self.total or not self.done:
            return f"({rate:,.0f}/s)"
        left = datetime.timedelta(seconds=round(max(self.total - self.done, 0) / rate))
        return f"({min(self.done / self.total, 1):.0%}, {rate:,.0f}/s, {left} left)"


class RunView(logging.Handler):
    """Shows a run: the component at work with its progress, then a line with its result."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._status: Status | None = None
        self._node, self._begin = "", 0.0
        self._stages: dict[tuple[str, str], Stage] = {}
        self._note, self._latest = "", 0.0

    def __enter__(self) -> RunView:
        """Listen to progress."""
        LOGGER.setLevel(logging.INFO)
        LOGGER.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        LOGGER.removeHandler(self)
        self._stop()

    @property
    def node(self) -> str:
        """The component at work, or the last one."""
        return self._node

    def start(self, node: str) -> None:
        """A component begins."""
        self._node, self._stages, self._note = node, {}, ""
        self._begin = self._latest = time.perf_counter()
        self._status = Status(Text(self._live()), console=self._console)
        self._status.start()

    def end(self, state: str, detail: str = "") -> None:
        """A component ended in a state: done, cached, failed or stopped."""
        self._stop()
        seconds = time.perf_counter() - self._begin
        styled = (f"{state:<8}", _STATE_STYLES[state])
        line = Text.assemble(f"  {self._node:<24}", styled, f"{seconds:>7.1f} s   {detail or self._counts()}")
        self._console.print(line, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a progress record."""
        said = vars(record)  # What `progress.advance` puts in.
        # What is done when a stage is first heard of was begun when the last one was heard of.
        stage = self._stages.setdefault((said["stage"], said["unit"]), Stage(self._latest))
        stage.done += said["amount"]
        stage.total = said["total"]
        self._note, self._latest = said["note"], time.perf_counter()
        if self._status:
            self._status.update(Text(self._live()))

    def _stop(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None

    def _counts(self) -> str:
        return ", ".join(f"{name} {stage.done:,} {unit}" for (name, unit), stage in self._stages.items())

    def _live(self) -> str:
        if not self._stages:
            return self._node
        # Of the stages before it is known how long they took, in `_counts`.
        (name, unit), stage = list(self._stages.items())[-1]
        return f"{self._node}  {name} {stage.done:,} {unit} {stage.progress(self._latest)}  {self._note}"

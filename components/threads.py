"""Work in threads, in order."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int, ahead: int = 1
) -> Iterator[_Result]:
    """Call a function with items in threads, and return what it returns in the order of the items.

    Args:
      function: The function.
      items: Taken in the caller's thread, when there is room for more.
      threads: How many.
      ahead: How many items more may be in work, or done and not yet taken.
    """
    rest = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        pending = collections.deque(pool.submit(function, item) for item in itertools.islice(rest, threads + ahead))
        while pending:
            done = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in itertools.islice(rest, 1))
            yield done

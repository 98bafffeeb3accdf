"""Progress of long work, as log records.

A component calls `advance`; whoever shows progress attaches a handler to the logger. On a cluster the records simply
land in the step's log.
"""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("matinee.progress")


def advance(stage: str, amount: int, unit: str, total: int | None = None, note: str = "") -> None:
    """Report that `amount` more units of a stage are done.

    Args:
      stage: What is being done, a verb such as "read".
      amount: Units done since the last call.
      unit: What is counted: "rows", "steps".
      total: Units in all, where known, or about as many.
      note: Short text to show beside the count, such as the current loss.
    """
    LOGGER.info(
        "%s %d %s",
        stage,
        amount,
        unit,
        extra={"stage": stage, "amount": amount, "unit": unit, "total": total, "note": note},
    )

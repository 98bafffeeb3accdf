"""Where the report of an evaluation is."""

from __future__ import annotations

import pathlib

from schemas import keys


def newest_report(output: str) -> pathlib.Path:
    """Return the page of the latest evaluation under an output directory of `matinee run`.

    Raises:
      ValueError: There is none.
    """
    pages = pathlib.Path(output).glob(f"artifacts/*/evaluation/*/{keys.REPORT_FILE}")
    newest = max(pages, key=lambda page: int(page.parent.name), default=None)
    if newest is None:
        raise ValueError(f"no evaluation under {output!r}; run the pipeline first (matinee run --output {output})")
    return newest

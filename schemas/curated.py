"""The curated schema of the examples, which they are validated against: as a file, and as the features' table has it.

python -m schemas.curated     writes the file
"""

from __future__ import annotations

import pathlib

from schemas import features as f
from schemas.data_spec import movielens
from schemas.domain import Domain

SCHEMA_PATH = str(pathlib.Path(__file__).with_name("examples.pbtxt"))
"""That of MovieLens' data, a tensorflow_metadata Schema as text. It is a file, so that a change of the contract is seen
as one."""

_HEAD = "# The contract of the examples: every feature is present in every example, with this length and range.\n"
_FEATURE = """feature {{
  name: "{name}"
  type: {type}
  presence {{ min_fraction: 1 min_count: 1 }}
  shape {{ dim {{ size: {length} }} }}
  {domain}
}}
"""


def schema_text(domain: Domain) -> str:
    """Return the schema of a data set's examples."""
    bounds = f.BOUNDS | {f.MOVIE_YEAR: domain.years}
    features = [_FEATURE.format(name=name, type="INT", length=1, domain="int_domain { min: 0 }") for name in f.IDS] + [
        _FEATURE.format(name=name, type="FLOAT", length=length, domain=_domain(*bounds[name]))
        for name, length in f.example_lengths(domain.num_categories).items()
    ]
    return _HEAD + "".join(features)


def _domain(low: float | None, high: float | None) -> str:
    if high is None:
        return f"float_domain {{ min: {low:g} disallow_nan: true disallow_inf: true }}"
    return f"float_domain {{ min: {low:g} max: {high:g} disallow_nan: true }}"


if __name__ == "__main__":
    pathlib.Path(SCHEMA_PATH).write_text(schema_text(movielens()), encoding="utf-8")

"""Files of the artifacts that PolarsExampleGen writes."""

CATALOG_FILE = "movies.parquet"
"""MovieCatalog: every movie with its features, sorted by movie."""
CONSTANTS_FILE = "feature_constants.json"
"""MovieCatalog: the constants of the user features."""
HISTORIES_PREFIX = "histories"
"""UserHistories: prefix of the Parquet shards."""

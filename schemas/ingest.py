"""Files, columns and splits of the artifacts that PolarsExampleGen writes."""

import polars as pl

CATALOG_FILE = "movies.parquet"
"""MovieCatalog: every movie with its features, sorted by movie."""
CONSTANTS_FILE = "feature_constants.json"
"""MovieCatalog: the constants of the user features."""
HISTORIES_PREFIX = "histories"
"""UserHistories: prefix of the Parquet shards."""

USERS_PREFIX = "users"
"""UserHistories: prefix of the Parquet shards of the users' keys, only where users are text."""

MOVIE_KEY = "movie_key"
"""Column of the catalogue: the movie's id as the data has it, only where that is text."""
USER_KEY = "user_key"
"""The same of a user, a column of the users' keys."""
TITLE = "title"
"""Column of the catalogue: the title as the movies table has it, year inside."""
GENRE_NAMES = "genres"
"""Column of the catalogue: the names of the movie's categories, of films the genres."""
YEAR = "year"
"""Column of the catalogue: the year in the title, null where it is missing or absurd; the feature of it is imputed."""
LINKS = "links"
"""Column of the catalogue, only where there is a table of links: `LINKS_TYPE`."""
LINKS_TYPE = pl.List(pl.Struct({"name": pl.String, "url": pl.String}))
"""Of a movie, the places elsewhere that have it."""
IS_TRAIN = "is_train"
"""Column of the histories: whether the rating is train, not eval."""

SPAN = "{SPAN}"
"""In a data set's path or URI: a number, of one of several directories whose ratings belong together, as a day's."""
WITHDRAWN_FILE = "withdrawn.csv"
"""Of a data set: what was taken back of its ratings, columns `WITHDRAWN_COLUMNS`; without a movie all of the user's."""
WITHDRAWN_COLUMNS = ("userId", "movieId", "timestamp")

TRAIN = "train"
EVAL = "eval"
EXAMPLES = {TRAIN: "train_examples", EVAL: "eval_examples"}
"""Split -> custom property of the examples: how many of its ratings became examples."""
SAMPLES = {TRAIN: "train_sample", EVAL: "eval_sample"}
"""Split -> the split that holds a random sample of its rows, for what needs no pass over all of them."""

"""Features: their names, their shapes and the rating scale.

Every name that a tf.Example, a Parquet column or a model input carries is declared here and imported elsewhere.
"""

USER_ID = "user_id"
MOVIE_ID = "movie_id"
RATING = "rating"
TIMESTAMP = "timestamp"
USER_GENRE_RATING = "user_genre_rating"
USER_GENRE_COUNT = "user_genre_count"
MOVIE_GENRES = "movie_genres"
MOVIE_NUM_RATINGS = "movie_num_ratings"
MOVIE_AVERAGE_RATING = "movie_average_rating"
MOVIE_YEAR = "movie_year"

IDS = (USER_ID, MOVIE_ID, TIMESTAMP)
"""int64[1] features; the user tower reads `timestamp` as the time at which he is asked about."""

USER_FEATURES = {USER_GENRE_RATING: 20, USER_GENRE_COUNT: 20}
"""Raw float32 features of the user and their length."""

MOVIE_FEATURES = {MOVIE_GENRES: 20, MOVIE_NUM_RATINGS: 1, MOVIE_AVERAGE_RATING: 1, MOVIE_YEAR: 1}
"""Raw float32 features of the movie and their length."""

USER_HISTORY_MOVIES = "user_history_movies"
"""int64 `[length]`: ids of the movies that the user rated last, the latest first."""
USER_HISTORY_RATINGS = "user_history_ratings"
"""float32 `[length]`: their ratings in stars; 0 where there is no movie."""
HISTORY_LENGTH = 50
"""How many of a user's latest ratings the user tower looks at."""

USER_TOWER_INPUTS = (*USER_FEATURES, USER_HISTORY_MOVIES, USER_HISTORY_RATINGS, TIMESTAMP)
"""What the exported user tower takes. Histories are no part of the examples: training looks them up by user."""

FLOAT_FEATURES = {RATING: 1, **USER_FEATURES, **MOVIE_FEATURES}
"""Every float32 feature of an example and its length."""

# Outputs of the preprocessing function beside the inputs of the same name.
USER_GENRE_SHARE = "user_genre_share"
"""Share of a genre among all genre mentions of the user's movies."""
USER_GENRE_PREFERENCE = "user_genre_preference"
"""`user_genre_rating` less the user's mean, in stars."""
USER_ACTIVITY = "user_activity"
"""log(1 + all genre mentions of the user's movies)."""
USER_AVERAGE_RATING = "user_average_rating"
"""Mean of `user_genre_rating`, weighted by `user_genre_count`, in stars."""
USER_TIME = "user_time"
"""Where `timestamp` stands among those of the train ratings: weights of evenly spaced points, which sum to 1."""
LABEL = "label"
"""Rating scaled to [-1, 1], float32[1]."""
MOVIE_LOG_COUNT = "movie_log_count"
"""log(1 + movie_num_ratings), unscaled float32[1]: the logQ correction of the softmax."""
MOVIE_INDEX = "movie_index"
"""Place of the movie in the vocabulary of train movies, from 1; 0 for any other. int64[1]."""
USER_HISTORY_INDEX = "user_history_index"
"""The same of the movies of a history, int64 `[length]`."""
MOVIE_IDS_VOCABULARY = "movie_ids"
"""Name of the vocabulary that Transform learns."""

USER_INPUTS = (
    USER_GENRE_RATING,
    USER_GENRE_COUNT,
    USER_GENRE_SHARE,
    USER_GENRE_PREFERENCE,
    USER_ACTIVITY,
    USER_AVERAGE_RATING,
    USER_TIME,
)
"""What the user tower reads of Transform's outputs; beside them, the history."""
MOVIE_INPUTS = tuple(MOVIE_FEATURES)
"""What the movie tower reads of Transform's outputs; beside them, `movie_index`."""

GENRES = (
    "(no genres listed)",
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "IMAX",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""The genre values of MovieLens (files' README.txt), in the order of every genre vector."""

RATING_MIN = 0.5
RATING_MAX = 5.0
RATING_STEP = 0.5
RATING_CENTRE = (RATING_MIN + RATING_MAX) / 2
RATING_HALF_RANGE = (RATING_MAX - RATING_MIN) / 2
LIKED_RATING = 4.0
"""A rating of this many stars or more counts as relevant in ranking metrics."""

YEAR_MIN = 1870
"""Years before the first films are absurd and imputed."""
YEAR_MAX = 2100


def to_label(stars):
    """Scale ratings in stars [0.5, 5] linearly to [-1, 1]."""
    return (stars - RATING_CENTRE) / RATING_HALF_RANGE


def to_stars(cosine):
    """Scale cosines in [-1, 1] linearly to ratings in stars [0.5, 5]."""
    return cosine * RATING_HALF_RANGE + RATING_CENTRE

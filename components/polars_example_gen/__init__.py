"""PolarsExampleGen: MovieLens ratings and movies to examples, a movie catalogue and user histories."""

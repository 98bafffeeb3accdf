"""BulkRecommender: the lists of every known user, from the version that is served."""

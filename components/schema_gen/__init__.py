"""Schema: writes the curated schema of the examples."""

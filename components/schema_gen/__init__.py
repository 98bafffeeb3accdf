"""Schema: imports the curated schema of the examples."""

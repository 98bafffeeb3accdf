"""Where the curated schema of the examples lies."""

import pathlib

SCHEMA_PATH = str(pathlib.Path(__file__).with_name("examples.pbtxt"))
"""tensorflow_metadata Schema in text format."""

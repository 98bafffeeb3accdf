"""The pipeline: configuration, wiring, runners and the command line."""

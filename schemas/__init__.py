"""Names and contracts that cross a boundary between components, or between the pipeline and serving."""

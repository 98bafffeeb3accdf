"""What users do while they are served: kept durably, counted at once, and read by the next run."""

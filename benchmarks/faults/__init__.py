"""What can go wrong around the product, tried on purpose: `python -m benchmarks.faults`."""

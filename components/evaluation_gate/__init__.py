"""Evaluation gate: measures a model beside baselines and the model now served, and blesses it or not."""

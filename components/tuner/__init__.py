"""Tuner: a search for the Trainer's hyperparameters."""

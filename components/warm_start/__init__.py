"""Warm start: takes the model now served as what the next training goes on from, or says why it cannot."""

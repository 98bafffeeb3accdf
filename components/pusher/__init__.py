"""Pusher: publishes a blessed user tower and the embedding index of the same version."""

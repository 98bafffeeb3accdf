"""Trainer: the two towers, their loss, the input pipeline and the export."""

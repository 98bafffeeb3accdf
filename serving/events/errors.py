"""What goes wrong with events."""


class EventStoreError(RuntimeError):
    """The database cannot be used, or not now."""

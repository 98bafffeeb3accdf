"""An index of what changes a list alone: it does not get slower by every movie that was ever shown."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Replace the index by user."""
    changing = sa.text("kind IN ('rating', 'withdrawn', 'seen', 'not_for_me', 'forget')")
    op.drop_index("events_of_user", "events")
    op.create_index(
        "events_that_change", "events", ["user_id", "number"], sqlite_where=changing, postgresql_where=changing
    )

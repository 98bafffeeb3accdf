"""The table of events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make it."""
    op.create_table(
        "events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("user_id", sa.String(300), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at_s", sa.BigInteger, nullable=False),
        sa.Column("movie_id", sa.String(300)),
        sa.Column("rating", sa.Float),
        sa.Column("model_version", sa.BigInteger),
        sa.UniqueConstraint("user_id", "key", name="events_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_of_user", "events", ["user_id", "number"])

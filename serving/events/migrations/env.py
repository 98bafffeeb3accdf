"""Run by Alembic: applies the migrations over the connection that `EventStore.upgrade` has opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()

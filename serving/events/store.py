"""The database of events: SQLite beside the service, or PostgreSQL for several replicas of it."""

from __future__ import annotations

import pathlib
import sqlite3
from collections.abc import Iterator, Sequence

import alembic.command
import alembic.config
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from serving.changes import Changes
from serving.events.errors import EventStoreError
from serving.events.model import CHANGING, FORGET, Event, changes_of

_WAIT_S = 10
"""For another process that writes, or for PostgreSQL."""
_ROWS = 10_000
_METADATA = sa.MetaData()
# As text, not as parameters: with these no database can tell that the index is enough.
_CHANGES = sa.text(f"kind IN ({', '.join(repr(kind) for kind in CHANGING)})")
EVENTS = sa.Table(
    "events",
    _METADATA,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("user_id", sa.String(300), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("at_s", sa.BigInteger, nullable=False),
    sa.Column("movie_id", sa.String(300)),
    sa.Column("rating", sa.Float),
    sa.Column("model_version", sa.BigInteger),
    sa.UniqueConstraint("user_id", "key", name="events_once"),
    # Most events are of movies that were shown, which no list asks for.
    sa.Index("events_that_change", "user_id", "number", sqlite_where=_CHANGES, postgresql_where=_CHANGES),
    # A number is never given twice, also after the newest event was deleted: what was read up to it stays read.
    sqlite_autoincrement=True,
)


def url_of(where: str) -> sa.URL:
    """Return the address of a database.

    Args:
      where: A path of a SQLite file, or a URL such as postgresql://user@host/matinee.

    Raises:
      ValueError: It is of another kind.
    """
    if "://" not in where:
        return sa.URL.create("sqlite", database=where)
    try:
        url = sa.make_url(where)
    except sa.exc.ArgumentError as error:
        raise ValueError(f"events: {error}; expected the path of a file or postgresql://user@host/database") from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"events: {url.drivername} is not supported; expected the path of a file or postgresql://...")
    return url.set(drivername="postgresql+psycopg") if url.get_backend_name() == "postgresql" else url


class EventStore:
    """Reads and writes events; every method may be called from any thread."""

    def __init__(self, where: str) -> None:
        """Use a database; see `url_of`. It is opened when it is first needed, by each process for itself."""
        self._url = url_of(where)
        self.is_file = self._url.get_backend_name() == "sqlite"
        """Whether reading takes next to no time."""
        options: dict[str, object] = {"timeout": _WAIT_S, "check_same_thread": False}
        if not self.is_file:
            options = {"connect_timeout": _WAIT_S, "options": f"-c statement_timeout={_WAIT_S * 1000}"}
        self._engine = sa.create_engine(
            self._url, connect_args=options, pool_pre_ping=not self.is_file, pool_timeout=_WAIT_S
        )
        self._writing = self._engine.execution_options(writes=True)
        self._insert = sqlite.insert if self.is_file else postgresql.insert
        if self.is_file:
            sa.event.listen(self._engine, "connect", _set_up)
            sa.event.listen(self._engine, "begin", _begin)
        self._of_user = (
            sa.select(EVENTS.c.number, EVENTS.c.kind, EVENTS.c.movie_id, EVENTS.c.rating, EVENTS.c.at_s)
            .where(EVENTS.c.user_id == sa.bindparam("user"), _CHANGES)
            .order_by(EVENTS.c.number)
        )

    def upgrade(self) -> None:
        """Make the database, or bring it up to date.

        Raises:
          EventStoreError: It cannot be.
        """
        config = alembic.config.Config()
        config.set_main_option("script_location", str(pathlib.Path(__file__).with_name("migrations")))
        try:
            with self._writing.begin() as connection:  # Services start together.
                if not self.is_file:
                    connection.execute(sa.text("SELECT pg_advisory_xact_lock(7201411)"))
                config.attributes["connection"] = connection
                alembic.command.upgrade(config, "head")
        except (sa.exc.SQLAlchemyError, alembic.util.CommandError) as error:
            raise self._error(error) from error

    def add(self, events: Sequence[Event]) -> list[bool]:
        """Write events, all or none; they are on the disk when this returns.

        Returns:
          Which ones were new. The others were there by their keys before, and are not looked at.

        Raises:
          EventStoreError: They could not be written.
        """
        first = {(event.user_id, event.key): event for event in reversed(events)}
        rows = [_row(event) for event in events if first[event.user_id, event.key] is event]
        statement = self._insert(EVENTS).on_conflict_do_nothing(index_elements=["user_id", "key"])
        try:
            with self._writing.begin() as connection:
                found = connection.execute(statement.returning(EVENTS.c.user_id, EVENTS.c.key), rows).all()
                for event in first.values():
                    if event.kind == FORGET and (event.user_id, event.key) in found:
                        self._forget(connection, event)
        except sa.exc.SQLAlchemyError as error:
            raise self._error(error) from error
        new = {(user, key) for user, key in found}
        return [(event.user_id, event.key) in new and first[event.user_id, event.key] is event for event in events]

    @staticmethod
    def _forget(connection: sa.Connection, event: Event) -> None:
        own = EVENTS.c.user_id == event.user_id
        last = sa.select(sa.func.max(EVENTS.c.number)).where(own, EVENTS.c.key == event.key).scalar_subquery()
        connection.execute(sa.delete(EVENTS).where(own, EVENTS.c.number < last))

    def of_user(self, user_id: str) -> Changes | None:
        """Return what a user's events change.

        Raises:
          EventStoreError: They cannot be read.
        """
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(self._of_user, {"user": user_id}).all()
        except sa.exc.SQLAlchemyError as error:
            raise self._error(error) from error
        return changes_of([tuple(row) for row in rows])

    def all(
        self, after: int = 0, kinds: Sequence[str] | None = None, settled: bool = False
    ) -> Iterator[tuple[int, Event]]:
        """Yield events and their numbers, by these.

        Args:
          after: A number.
          kinds: Only of these kinds.
          settled: Only as far as no event with a lower number can come any more.

        Raises:
          EventStoreError: They cannot be read.
        """
        columns = [EVENTS.c[name] for name in ("number", *_COLUMNS)]
        query = sa.select(*columns).order_by(EVENTS.c.number).limit(_ROWS)
        if settled:
            query = query.where(EVENTS.c.number <= self._settled())
        if kinds is not None:
            query = query.where(EVENTS.c.kind.in_(kinds))
        while True:
            try:
                with self._engine.connect() as connection:
                    rows = connection.execute(query.where(EVENTS.c.number > after)).all()
            except sa.exc.SQLAlchemyError as error:
                raise self._error(error) from error
            for number, *values in rows:
                yield number, Event(**dict(zip(_COLUMNS, values, strict=True)))
            if len(rows) < _ROWS:
                return
            after = rows[-1][0]

    def _settled(self) -> int:
        """Return the latest number; PostgreSQL gives numbers before it writes, so that writers are waited for."""
        try:
            with self._engine.begin() as connection:
                if not self.is_file:
                    connection.execute(sa.text("LOCK TABLE events IN SHARE MODE"))
                return connection.execute(sa.select(sa.func.coalesce(sa.func.max(EVENTS.c.number), 0))).scalar_one()
        except sa.exc.SQLAlchemyError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _error(self, error: Exception) -> EventStoreError:
        place = self._url.render_as_string(hide_password=True)
        why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return EventStoreError(f"the events in {place} cannot be used: {why}")


_COLUMNS = ("key", "user_id", "kind", "at_s", "movie_id", "rating", "model_version")


def _row(event: Event) -> dict[str, object]:
    return {name: getattr(event, name) for name in _COLUMNS}


def _set_up(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # `_begin` begins: Python would later than a write that waits should.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")

"""The database behind one interface: the embedded server of a home, or any Postgres with pgvector by its address."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg.types import TypeInfo
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout
from pydantic import SecretStr

from gainstage.engine.errors import EngineError, Misconfigured, Transient
from gainstage.engine.store import trouble, vector_types
from gainstage.engine.store.checks import ServerCheck, examine, vector_schema
from gainstage.engine.store.holders import Holders
from gainstage.engine.store.migrate import SCHEMA, Migration, migrate, refuse_newer, store_migrations, unknown_migrations
from gainstage.engine.store.reach import POOL, Pooler, check_writable, no_room, pooler_of, room_of
from gainstage.engine.store.round_trips import DatabaseClock, Latency
from gainstage.engine.store.sessions import session_name
from gainstage.engine.views.snapshot import DatabaseView

if TYPE_CHECKING:
    from gainstage.engine.store.embedded import EmbeddedPostgres

Pool = ConnectionPool[Connection[TupleRow]]

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # its warnings say again what our errors say

PATIENCE_S = 30.0
"""Longest wait for a free connection of a pool whose server answers."""

ROOM_S = 5.0
"""Longest wait of a starting engine for connections to become free."""

LOOK_S = 0.5
SIZES_EVERY_S = 30.0


# what Ctrl-C breaks off inside a rollback is no message for a terminal
logging.getLogger("psycopg").addHandler(logging.NullHandler())


class Database:
    """Connections to one database, with schema and types set up. Made by :meth:`open`, ended by :meth:`close`.

    Every error of the database leaves :meth:`connection` and :meth:`transaction` as one of the engine's: :class:`Transient` with
    cause :data:`AWAY` when the server cannot be reached (call again later), :class:`Transient` when it is busy or full,
    :class:`Misconfigured` when the role may not. Faults of ours (bad SQL, bad data) stay psycopg's.
    """

    AWAY = trouble.AWAY

    NESTED_FROM = 2
    """Connections of a pool from which a block may take another; the tests allow it nowhere."""

    def __init__(
        self,
        address: str,
        parts: dict[str, str],
        where: str,
        server: EmbeddedPostgres | None,
        pool_size: int,
        types: Sequence[TypeInfo],
        migrations: Sequence[Migration],
        stack: ExitStack,
        clock: DatabaseClock,
        *,
        pooler: Pooler | None = None,
        path: str = SCHEMA,
    ) -> None:
        self.embedded = server is not None
        self.where = where
        """Host and database, or the folder of the embedded server; never a password."""
        self._address = address
        self._parts = parts
        self._stack = stack
        self._types = types
        self._migrations = migrations
        self._server = server
        self._reviving = threading.Lock()
        self._lock = threading.Lock()
        self.latency = Latency()
        self.clock = clock
        self._down_since: float | None = None
        self._reconnects = 0
        self._sizes: tuple[float, int | None, int | None] = (float("-inf"), None, None)
        self.pooler = pooler
        """The pooler between us and the server, None where there is none."""
        self._path = path
        self._pool = self._make_pool(max(1, pool_size))
        self._reserved: Pool | None = None
        self._holders = Holders()

    def _make_pool(self, most: int) -> Pool:
        return ConnectionPool(
            self._address,
            kwargs=self._manner,
            min_size=1,
            max_size=most,
            open=True,
            configure=self._configure,
            check=ConnectionPool.check_connection,
            reconnect_timeout=1.5,  # then it waits to be asked: no long silence after a long outage
            num_workers=2,
            name="gainstage",
        )

    @property
    def _manner(self) -> dict[str, Any]:
        # behind a pooler the next statement may meet another server connection, which knows nothing of our prepared ones
        return {"autocommit": True} | ({"prepare_threshold": None} if self.pooler else {})

    @classmethod
    def open(
        cls,
        url: str | SecretStr | None,
        folder: Path,
        *,
        pool_size: int = POOL,
        engine: bool = False,
        make: bool = True,
        migrations: Sequence[Migration] = (),
        application: str | None = None,
    ) -> Database:
        """Connect to ``url``, or start or join the embedded server of ``folder``; bring the tables up to date.

        ``migrations`` are those of other rooms, beside the store's own. For an ``engine`` the connections it needs are counted
        first: its pool shrinks where there are few, and it is refused where it would starve others. Without ``make`` a database without
        tables of gainstage is refused. ``application`` names the sessions (None: after this process). Raises :class:`Misconfigured` saying what to do when the database is not there, refuses the login, or has no pgvector; :class:`Transient` when it cannot take us just now.
        """
        stack = ExitStack()
        application = application or session_name()
        try:
            where, server, clock = None, None, DatabaseClock()
            if url is None:
                from gainstage.engine.store.embedded import EmbeddedPostgres  # POSIX only

                server = stack.enter_context(EmbeddedPostgres(folder))
                url, where = server.url, str(server.folder)
            url = url.get_secret_value() if isinstance(url, SecretStr) else url
            parts = trouble.parts_of(url)
            where = where or trouble.where_of(parts)
            steps = (*store_migrations(), *migrations)
            with _first_connection(parts, application) as connection, trouble.words(parts, where):
                check_writable(connection, where)
                clock.measure(connection)
                pooler = pooler_of(connection, parts)
                path = f"{SCHEMA},{vector_schema(connection, where)},public"
                # through a pooler per transaction, only within one transaction do we stay on one server connection
                with connection.transaction() if pooler == "transaction" else nullcontext():
                    connection.execute("select set_config('search_path', %s, %s)", [path, pooler == "transaction"])
                    migrate(connection, steps, make=make)
                    if engine:
                        refuse_newer(connection, steps)
                    types = [info for name in vector_types.CLASSES if (info := TypeInfo.fetch(connection, name))]
                if engine:
                    pool_size = _pool_of_engine(connection, where, pool_size)
            address = make_conninfo(url, **_manners(parts, application, None if pooler else path))
            return cls(address, parts, where, server, pool_size, types, steps, stack, clock, pooler=pooler, path=path)
        except BaseException:
            stack.close()
            raise

    @property
    def server_pid(self) -> int | None:
        """Process id of the embedded server; None where the server is another's."""
        return self._server.pid if self._server is not None else None

    def __repr__(self) -> str:
        return f"<Database {self.where}>"

    def __enter__(self) -> Database:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back and leave the embedded server; safe to call twice."""
        with self._lock:
            pools = (self._pool, self._reserved)
        for pool in pools:
            if pool is not None:
                pool.close(timeout=5)
        self._stack.close()

    # -- connections ------------------------------------------------------------------------------------------------

    @contextmanager
    def connection(self, *, reserved: bool = False) -> Iterator[Connection[TupleRow]]:
        """A connection in autocommit mode: each statement stands for itself (through a pooler per transaction, all of the block
        are one transaction). ``reserved``: the one kept for heartbeat and commands, for statements that are over in a moment.

        A block asks for no second one: as many threads as the pool has connections would wait for each other.
        """
        with ExitStack() as stack, self._words():
            if not reserved and self.pool_size < self.NESTED_FROM:
                self._holders.refuse_nested()
            connection = self._take(stack, self._reserve() if reserved else self._pool)
            if not reserved:
                stack.enter_context(self._holders.holding(connection))
            self._note_return()
            if self.pooler == "transaction":
                stack.enter_context(connection.transaction())
                connection.execute(
                    "select set_config('search_path', %s, true), set_config('idle_in_transaction_session_timeout', '20s', true)",
                    [self._path],
                )
            yield connection

    @contextmanager
    def transaction(self, *, reserved: bool = False) -> Iterator[Connection[TupleRow]]:
        """A connection inside one transaction: committed at the end of the block, rolled back by any exception."""
        with self.connection(reserved=reserved) as connection, connection.transaction():
            yield connection

    @contextmanager
    def own_connection(self) -> Iterator[Connection[TupleRow]]:
        """A connection outside the pool, in autocommit mode, for what takes minutes or listens.

        Raises :class:`Misconfigured` where a pooler lends connections per transaction: it has none of one's own.
        """
        if self.pooler == "transaction":
            raise Misconfigured(
                f"{self.where} is a pooler in transaction mode, which gives no connection for this",
                cause="database: pooler",
                hint="Name the server's own address in store.database, or a pooler in session mode.",
            )
        if self._server is not None:
            self._server.check_there()
        with self._words(), psycopg.connect(self._address, **self._manner) as connection:
            self._configure(connection)
            yield connection

    def _reserve(self) -> Pool:
        """The pool of one connection that heartbeat and commands share; made when first asked for."""
        with self._lock:
            self._reserved = self._reserved or self._make_pool(1)
            return self._reserved

    @property
    def can_listen(self) -> bool:
        """Whether notes of other sessions reach us; else tables are to be read again and again."""
        return self.pooler != "transaction"

    def _take(self, stack: ExitStack, pool: Pool) -> Connection[TupleRow]:
        """A connection of the pool. A server that refuses is distinguished from a pool that is busy."""
        if self._server is not None:
            self._server.check_there()
        end = time.monotonic() + PATIENCE_S
        failures = pool.get_stats().get("connections_errors", 0)
        while True:
            try:
                return stack.enter_context(pool.connection(timeout=LOOK_S))
            except PoolTimeout:
                if self._down_since is not None or pool.get_stats().get("connections_errors", 0) > failures:
                    self._note_loss()
                    why = self._revive()
                    hint = why.hint if why else "Check the server; finished work waits for it."
                    text = f"{self.where} does not answer" + (f": {why.message}" if why else "")
                    raise Transient(text, cause=self.AWAY, hint=hint) from None
                if time.monotonic() > end:
                    raise Transient(
                        f"no free connection for {PATIENCE_S:.0f} s; held by {self._holders.text() or 'nobody'}",
                        cause="database busy",
                        hint="Lower workers.store, or look for a statement that hangs.",
                    ) from None
            except PoolClosed:
                raise Transient("the database is closed", cause="database closed") from None

    def _words(self) -> AbstractContextManager[None]:
        return trouble.words(self._parts, self.where, self._note_loss)

    def _configure(self, connection: Connection[TupleRow]) -> None:
        if self.pooler == "session":  # it takes no settings with the login
            connection.execute(
                "select set_config('search_path', %s, false), set_config('idle_in_transaction_session_timeout', '20s', false)",
                [self._path],
            )
        for info in self._types:
            vector_types.register(connection, info)

    def _revive(self) -> EngineError | None:
        """Start the embedded server again after it was killed; one thread tries, the others go on. Why it does not start."""
        if self._server is not None and self._reviving.acquire(blocking=False):
            try:
                self._server.revive()
            except EngineError as error:  # the caller says that the database is away, and will ask again
                return error
            finally:
                self._reviving.release()
        return None

    def _note_loss(self) -> None:
        with self._lock:
            self._down_since = self._down_since or self.clock.now()

    def _note_return(self) -> None:
        if self._down_since is not None:
            with self._lock:
                self._down_since = None
                self._reconnects += 1

    @property
    def pool_size(self) -> int:
        """Most connections of the pool."""
        return self._pool.max_size

    @property
    def pool_busy(self) -> int:
        """Connections of the pool in use now."""
        stats = self._pool.get_stats()
        return max(0, stats.get("pool_size", 0) - stats.get("pool_available", 0))

    # -- health -----------------------------------------------------------------------------------------------------

    def ping(self) -> float:
        """Seconds of one round trip, kept for :meth:`view`; measures the clock. Raises :class:`Transient` while the server is away."""
        with self.connection() as connection:
            took = self.clock.measure(connection)
            self.latency.record(took)
            if time.monotonic() - self._sizes[0] > SIZES_EVERY_S:
                row = connection.execute(
                    "select case when reltuples >= 10000 then reltuples::bigint else (select count(*) from segment) end,"
                    " pg_database_size(current_database()) from pg_class where oid = 'segment'::regclass"
                ).fetchone()
                self._sizes = (time.monotonic(), *(row or (None, None)))
        return took

    def view(self) -> DatabaseView:
        """The database as a snapshot shows it, from the last pings; asks nothing itself."""
        return DatabaseView(
            up=self._down_since is None,
            where=self.where,
            embedded=self.embedded,
            latency_p50_s=self.latency.quantile(0.5),
            latency_p95_s=self.latency.quantile(0.95),
            pool_size=self.pool_size,
            pool_busy=self.pool_busy,
            down_since_wall=self._down_since,
            segments=self._sizes[1],
            size=self._sizes[2],
            reconnects=self._reconnects,
            clock_offset_s=self.clock.offset_s,
        )

    def newer_steps(self) -> tuple[str, ...]:
        """Migrations that a newer gainstage has applied since this process began."""
        with self.connection() as connection:
            return unknown_migrations(connection, self._migrations)

    def check(self) -> ServerCheck:
        """Versions, and what is wrong in words."""
        with self.connection() as connection:
            return examine(connection, self._migrations)


def _pool_of_engine(connection: Connection[TupleRow], where: str, wanted: int) -> int:
    """The size of an engine's pool; connections of an engine that has just ended may take a moment to go."""
    end = time.monotonic() + ROOM_S
    while (room := room_of(connection)).pool(wanted) < 1:
        if time.monotonic() > end:
            raise no_room(where, room)
        time.sleep(0.25)
    return room.pool(wanted)


def _manners(parts: dict[str, str], application: str, path: str | None) -> dict[str, str]:
    """Connection parameters: our search path (None: set otherwise), an end to transactions of frozen processes, quick notice
    of dead peers."""
    defaults = {"application_name": application, "connect_timeout": "5"}
    if not parts.get("host", "").startswith("/"):
        defaults |= {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "15000"}
    manners = {k: v for k, v in defaults.items() if k not in parts}
    if path is not None:
        options = f"-c search_path={path.replace(' ', chr(92) + ' ')} -c idle_in_transaction_session_timeout=20s"
        manners["options"] = f"{parts.get('options', '')} {options}".strip()
    return manners


@contextmanager
def _first_connection(parts: dict[str, str], application: str) -> Iterator[Connection[TupleRow]]:
    try:
        defaults = {"application_name": application, "connect_timeout": "5", "autocommit": True, "prepare_threshold": None}
        connection = psycopg.connect(**{**defaults, **parts})  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise trouble.unreachable(error, parts) from None
    with connection:
        yield connection

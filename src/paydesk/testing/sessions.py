"""Sessions that tests hand on with their database: a new one would read its catalogs, parse and
plan every statement anew, which is a quarter of the work of a test.

What a pool closes is kept aside, reset as `discard all` would, but for its prepared statements.
The next pool that wants the same session of the same database gets it.
"""

from __future__ import annotations

import collections
import functools
import os
import threading
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import conninfo, pq

from paydesk.db import postgres

#: So many are kept of a database, the latest.
_MOST = 4
_RESET = (
    b"close all; unlisten *; select pg_advisory_unlock_all(); discard temp; discard sequences;"
    b" reset session authorization; reset all"
)

_Key = tuple[Any, ...]
#: What a session needs to be taken up again: itself, and the names of what it has prepared.
_Kept = tuple[_Key, pq.abc.PGconn, Any]

_lock = threading.Lock()
#: database -> the sessions that wait for a next user. A database that is not here keeps none.
_idle: dict[str, list[_Kept]] = {}
_inherited: list[Any] = []
counts: collections.Counter[str] = collections.Counter()


def hand_on() -> None:
    """From now on the pools of this process hand their sessions on."""
    pool = postgres.ConnectionPool
    if not isinstance(pool, functools.partial):
        postgres.ConnectionPool = functools.partial(  # type: ignore[misc,assignment]
            pool, connection_class=Session
        )


def keep_for(name: str) -> None:
    """Sessions of this database are kept until `end_all(name)`."""
    with _lock:
        _idle.setdefault(name, [])


def end_all(name: str) -> None:
    """End those that wait, and keep no more."""
    with _lock:
        kept = _idle.pop(name, [])
    for _, pgconn, _ in kept:
        pgconn.finish()


def waiting(name: str) -> list[int]:
    """The server's numbers of the sessions that nobody has."""
    with _lock:
        return [pgconn.backend_pid for _, pgconn, _ in _idle.get(name, ())]


class Session(psycopg.Connection[Any]):
    """A connection whose session outlives it."""

    _key: _Key | None = None

    @classmethod
    def connect(cls, conninfo: str = "", **told: Any) -> Session:  # type: ignore[override]
        name = _database(conninfo)
        key = (name, conninfo, *sorted((k, repr(v)) for k, v in told.items()))
        found = _take(name, key)
        made = super().connect(conninfo, **told) if found is None else cls._taken_up(found, told)
        made._key = key
        counts["new" if found is None else "handed on"] += 1
        return made

    @classmethod
    def _taken_up(cls, kept: _Kept, told: dict[str, Any]) -> Session:
        _, pgconn, prepared = kept
        made = cls(pgconn, row_factory=told["row_factory"])
        made._autocommit = bool(told["autocommit"])
        made._prepared = prepared
        return made

    def close(self) -> None:
        if self._key is None or self._pool is not None or not _is_usable(self.pgconn):
            super().close()
            return
        kept: _Kept = (self._key, self.pgconn, self._prepared)
        name = self._key[0]
        surplus: list[_Kept] = []
        with suppress(psycopg.OperationalError):
            if name in _idle and _is_reset(kept[1]):
                with _lock:
                    if name in _idle:
                        self._closed = True
                        # Whoever still has this object has a closed connection.
                        self.pgconn = pq.PGconn()
                        _idle[name].append(kept)
                        surplus, _idle[name] = _idle[name][:-_MOST], _idle[name][-_MOST:]
        for _, pgconn, _ in surplus:
            pgconn.finish()
        super().close()


def _take(name: str, key: _Key) -> _Kept | None:
    while True:
        with _lock:
            found = [one for one in _idle.get(name, ()) if one[0] == key]
            if not found:
                return None
            _idle[name].remove(found[-1])
        pgconn = found[-1][1]
        with suppress(psycopg.OperationalError):
            if pgconn.exec_(b"select 1").status == pq.ExecStatus.TUPLES_OK and _is_usable(pgconn):
                return found[-1]
        pgconn.finish()  # The server has ended it.


def _is_usable(pgconn: pq.abc.PGconn) -> bool:
    return (
        pgconn.status == pq.ConnStatus.OK
        and pgconn.transaction_status == pq.TransactionStatus.IDLE
        and pgconn.pipeline_status == pq.PipelineStatus.OFF
    )


def _is_reset(pgconn: pq.abc.PGconn) -> bool:
    return pgconn.exec_(_RESET).status == pq.ExecStatus.COMMAND_OK and _is_usable(pgconn)


@functools.lru_cache(maxsize=1000)
def _database(dsn: str) -> str:
    return str(conninfo.conninfo_to_dict(dsn).get("dbname", ""))


def _forget() -> None:
    """In a forked child: the parent's sessions are kept, unused, and never closed."""
    global _lock
    _lock = threading.Lock()
    _inherited.extend(_idle.values())
    _idle.clear()


os.register_at_fork(after_in_child=_forget)

"""Databases of tests: what one test left, the next one does not find."""

from __future__ import annotations

import os
import time
from collections import deque

import psycopg
import pytest

from paydesk.db.postgres import Database
from paydesk.testing import databases, reuse, sessions

COUNTS = "select count(*) from {}"


@pytest.fixture
def given_back(monkeypatch):
    """An empty row of databases that may be handed on, as a test process starts with."""
    row: deque = deque()
    monkeypatch.setattr(databases, "_given_back", row)
    monkeypatch.setattr(databases, "_LATER", 0)
    yield row
    while row:
        _, name, keeper = row.popleft()
        keeper.close()
        databases._drop_later(name)


def rows(database, table: str) -> int:
    with psycopg.connect(database.dsn) as conn:
        return conn.execute(COUNTS.format(table)).fetchone()[0]


def write(database) -> psycopg.Connection:
    """A session that stays open, with a customer that it has written."""
    conn = psycopg.connect(database.dsn, autocommit=True)
    conn.execute("insert into customers (customer_id, external_id, owner_id)"
                 " values (gen_random_uuid(), 'user_1', gen_random_uuid())")  # fmt: skip
    conn.execute("update sinks set name = 'other' where name = 'risk'")
    return conn


def gone(database) -> None:
    """Wait until the server has ended the sessions that were closed."""
    until = time.monotonic() + 60
    while database.keeper._all(reuse._OTHERS):
        assert time.monotonic() < until, "a session stays"
        time.sleep(0.01)


def test_a_database_is_handed_on_as_the_migrations_left_it(given_back):
    first = databases.fresh_database()
    sinks = rows(first, "sinks")
    write(first).close()
    assert rows(first, "customers") == 1
    gone(first)
    databases.drop_database(first)
    second = databases.fresh_database()
    assert second.name == first.name
    assert (rows(second, "customers"), rows(second, "sinks")) == (0, sinks)
    assert rows(second, "sinks where name = 'risk'") == 1
    databases.drop_database(second)


def test_a_database_with_a_session_left_in_it_is_not_handed_on(given_back):
    first = databases.fresh_database()
    with write(first):
        databases.drop_database(first)
        second = databases.fresh_database()
        assert second.name != first.name
    databases.drop_database(second)


def test_what_the_owner_had_in_hand_is_not_handed_on(given_back):
    first = databases.fresh_database()
    with psycopg.connect(first.owner_dsn, autocommit=True) as owner:
        owner.execute("alter table customers add column note text")
    databases.drop_database(first)
    second = databases.fresh_database()
    assert second.name != first.name
    databases.drop_database(second)


def test_much_used_and_very_full_databases_are_not_handed_on(given_back, monkeypatch):
    for name, most in (("_MOST_USES", 1), ("_MOST_ROWS", -1)):
        first = databases.fresh_database()
        write(first).close()
        gone(first)
        databases.drop_database(first)
        with monkeypatch.context() as patch:
            patch.setattr(reuse, name, most)
            second = databases.fresh_database()
        assert second.name != first.name, name
        databases.drop_database(second)
        given_back.pop()[2].close()


@pytest.mark.parametrize("key", [(os.getpid(), "another_template"), (os.getppid(), None)])
def test_what_cannot_be_handed_on_keeps_back_no_other(given_back, key):
    """Such as databases of a server that was restarted, or of the parent of a forked process."""
    old, next_one = databases.fresh_database(), databases.fresh_database()
    template = databases.template_database()
    for database in (old, next_one):
        databases.drop_database(database)
    given_back[0] = ((key[0], key[1] or template), *given_back[0][1:])
    handed_on = databases.fresh_database()
    assert (handed_on.name, len(given_back)) == (next_one.name, 0)
    assert old.keeper._conn.closed == (key[0] == os.getpid())
    old.keeper.close()
    databases._drop_later(old.name)
    databases.drop_database(handed_on)


@pytest.fixture
def pooled(database):
    """A pool of one session in the test's database, which the test may close."""
    made = []

    def opened() -> Database:
        made.append(Database(database.dsn, min_size=1, max_size=1, name="paydesk sessions"))
        return made[-1]

    yield opened
    for one in made:
        one.close()


def pid_of(db: Database) -> int:
    with db.read() as tx:
        return tx.conn.info.backend_pid


def test_a_session_is_handed_on_with_its_plans_and_nothing_else(pooled):
    first = pooled()
    with first.read() as tx:
        pid, held = tx.conn.info.backend_pid, tx.conn
        for _ in range(8):
            tx.value("select count(*) from customers")
        tx.one("select set_config('statement_timeout', '7s', false)")
        tx.one("select pg_advisory_lock(7)")
        tx.conn.execute("create temp table left_behind (a int)")
        tx.conn.execute("listen news")
    first.close()
    assert held.closed
    with pytest.raises(psycopg.OperationalError):
        held.execute("select 1")
    second = pooled()
    assert pid_of(second) == pid
    with second.read() as tx:
        assert tx.value("select count(*) from pg_prepared_statements") >= 1
        assert tx.value("select count(*) from customers") == 0
        assert tx.value("select current_setting('statement_timeout')") == "0"
        locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = %(pid)s"
        assert tx.value(locks, {"pid": pid}) == 0
        assert tx.value("select to_regclass('left_behind')") is None
        assert tx.value("select count(*) from pg_listening_channels()") == 0


def test_a_session_that_the_server_ended_is_not_handed_on(pooled, database):
    first = pooled()
    pid = pid_of(first)
    first.close()
    assert pid in sessions.waiting(database.name)
    # Another session of the same role may end it.
    with psycopg.connect(database.dsn, autocommit=True) as other:
        assert other.execute("select pg_terminate_backend(%s, 20000)", (pid,)).fetchone() == (True,)
    assert pid_of(pooled()) != pid


def test_sessions_of_an_altered_database_are_ended(pooled, database):
    first = pooled()
    pid = pid_of(first)
    first.close()
    assert database.admin_dsn
    assert sessions.waiting(database.name) == []
    second = pooled()
    assert pid_of(second) != pid
    second.close()
    assert sessions.waiting(database.name) == []


def test_a_session_in_the_middle_of_something_is_not_handed_on(pooled, database):
    first = pooled()
    with first.read() as tx:
        tx.conn.execute("begin")
        pid = tx.conn.info.backend_pid
        tx.conn.close()
    first.close()
    assert pid not in sessions.waiting(database.name)


def test_a_database_with_waiting_sessions_is_handed_on_with_them(given_back):
    first = databases.fresh_database()
    pool = Database(first.dsn, min_size=1, max_size=1, name="paydesk sessions")
    pid = pid_of(pool)
    pool.close()
    waiting = sessions.waiting(first.name)
    assert pid in waiting
    databases.drop_database(first)
    second = databases.fresh_database()
    assert (second.name, sessions.waiting(second.name)) == (first.name, waiting)
    databases.drop_database(second)


def test_the_latest_sessions_are_kept(pooled, database):
    for _ in range(2):
        made = [pooled() for _ in range(6)]
        pids = [pid_of(one) for one in made]
        for one in made:
            one.close()
        assert sessions.waiting(database.name) == pids[-4:]

"""Databases of tests: what one test left, the next one does not find."""

from __future__ import annotations

import os
import time
from collections import deque

import psycopg
import pytest

from paydesk.testing import databases, reuse

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
    until = time.monotonic() + 20
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

"""Transactions: locked in order, undone whole, and honest about what a lost connection means."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from paydesk.db import embedded, postgres
from paydesk.db.errors import CommitUnknown, ConnectionLost, DatabaseUnavailable, UnknownCustomer
from paydesk.db.postgres import Database, Tx
from paydesk.errors import Busy
from paydesk.testing import databases
from paydesk.testing.fixtures_db import OpenDatabase

SOURCE = Path(postgres.__file__).resolve().parents[2]


@pytest.fixture
def db(database: databases.TestDatabase) -> Iterator[OpenDatabase]:
    """As everywhere, but for the doctor: these heads belong to nobody and count nothing."""
    opened = OpenDatabase(database)
    yield opened
    opened.close()


def customers(db: Database, count: int) -> list[uuid.UUID]:
    made = sorted(uuid.uuid4() for _ in range(count))
    with db.transaction() as tx:
        for one in made:
            tx.run("insert into heads (customer_id) values (%(id)s)", {"id": one})
    return made


def head_count(db: Database) -> int:
    with db.read() as tx:
        return tx.value("select count(*) from heads")


def terminate(db, tx: Tx) -> None:
    """End the transaction's session from outside and wait until it is gone."""
    pid = tx.conn.info.backend_pid
    with psycopg.connect(db.admin_dsn, autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))


def test_a_transaction_commits_at_its_end_and_undoes_all_when_it_raises(db):
    customers(db, 1)
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:
        tx.run("insert into heads (customer_id) values (%(id)s)", {"id": uuid.uuid4()})
        raise ZeroDivisionError
    assert head_count(db) == 1


def test_rows_come_as_dicts_and_values_as_python_has_them(db):
    one = uuid.uuid4()
    with db.read() as tx:
        row = tx.one(
            "select %(id)s::uuid as id, %(data)s::jsonb as data, now() as at",
            {"id": one, "data": {"a": [1, None]}},
        )
        assert row is not None
        assert (row["id"], row["data"]) == (one, {"a": [1, None]})
        assert row["at"].utcoffset().total_seconds() == 0
        assert tx.one("select 1 where false") is None
        assert tx.value("select 1 where false") is None
        assert tx.all("select n from generate_series(1, 2) n") == [{"n": 1}, {"n": 2}]
        assert tx.value("select %(list)s", {"list": postgres.jsonb([1, {"b": 2}])}) == [1, {"b": 2}]
        with pytest.raises(AssertionError, match="more than one row"):
            tx.one("select generate_series(1, 2)")


def test_heads_are_locked_in_sorted_order_and_remembered(db):
    low, middle, high = customers(db, 3)
    with db.transaction(high, low, low) as tx:
        assert list(tx.heads) == [low, high]
        assert tx.heads[low].seq == 0
        assert tx.heads[low].last_at == postgres.BEGINNING
        with pytest.raises(AssertionError, match="sorted order"):
            tx.lock(middle)
        tx.lock(low, high)
    with db.transaction(low) as tx:
        tx.lock(middle, high)
        assert len(tx.heads) == 3


def test_two_transactions_over_the_same_heads_in_any_order_never_deadlock(db):
    low, high = customers(db, 2)

    def bump(*order: uuid.UUID) -> None:
        for _ in range(20):
            with db.transaction(*order) as tx:
                tx.run("update heads set seq = seq + 1 where customer_id = any(%(ids)s)",
                       {"ids": list(order)})  # fmt: skip

    threads = [threading.Thread(target=bump, args=args) for args in ((low, high), (high, low))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as tx:
        assert tx.value("select sum(seq)::int from heads") == 80


def test_a_customer_without_a_head_is_unknown(db):
    (known,) = customers(db, 1)
    with pytest.raises(UnknownCustomer), db.transaction(known, uuid.uuid4()):
        pass


def test_a_lock_that_is_not_to_be_had_means_busy_and_nothing_happened(db):
    (one,) = customers(db, 1)
    hasty = Database(db.dsn, lock_timeout_s=0.05)
    with db.transaction(one), pytest.raises(Busy), hasty.transaction(one):
        pass
    hasty.close()


def test_a_savepoint_undoes_only_its_own_part_and_its_own_locks(db):
    low, high = customers(db, 2)
    with db.transaction(low) as tx:
        tx.run("update heads set seq = 1")
        with pytest.raises(psycopg.errors.UniqueViolation), tx.savepoint():
            tx.lock(high)
            tx.run("update heads set seq = 2")
            tx.run("insert into heads (customer_id) values (%(id)s)", {"id": low})
        assert list(tx.heads) == [low]
    with db.read() as tx:
        assert tx.value("select max(seq) from heads") == 1


def test_a_snapshot_sees_one_instant_and_writes_nothing(db):
    customers(db, 1)
    with db.snapshot() as tx:
        assert tx.value("select count(*) from heads") == 1
        customers(db, 1)
        assert tx.value("select count(*) from heads") == 1
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), db.snapshot() as tx:
        tx.run("delete from heads")
    assert head_count(db) == 2


def test_everyone_can_ask_whether_a_transaction_is_open(db):
    assert not postgres.in_transaction()
    with db.read():
        assert not postgres.in_transaction()
    elsewhere: list[bool] = []
    with db.transaction():
        assert postgres.in_transaction()
        other = threading.Thread(target=lambda: elsewhere.append(postgres.in_transaction()))
        other.start()
        other.join()
    assert elsewhere == [False]
    assert not postgres.in_transaction()


def test_work_joins_a_callers_own_transaction_and_leaves_the_commit_to_it(db):
    (one,) = customers(db, 1)
    with psycopg.connect(db.dsn) as conn:
        with postgres.marked(Tx.joined(conn)) as tx:
            assert postgres.in_transaction()
            tx.lock(one)
            tx.run("update heads set seq = 7")
            assert tx.value("select %(data)s", {"data": {"a": 1}}) == {"a": 1}
        conn.rollback()
    with db.read() as tx:
        assert tx.value("select seq from heads") == 0


def test_only_an_open_read_committed_transaction_can_be_joined(db):
    with psycopg.connect(db.dsn, autocommit=True) as conn:
        with pytest.raises(ValueError, match="autocommit"):
            Tx.joined(conn)
        with conn.transaction():
            assert Tx.joined(conn).value("select 1") == 1
    with psycopg.connect(db.dsn) as conn:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        with pytest.raises(ValueError, match="serializable"):
            Tx.joined(conn)


# I42
def test_a_connection_lost_before_the_commit_means_that_nothing_happened(db):
    with pytest.raises(ConnectionLost) as lost, db.transaction() as tx:
        tx.run("insert into heads (customer_id) values (%(id)s)", {"id": uuid.uuid4()})
        terminate(db, tx)
        tx.value("select 1")
    assert not isinstance(lost.value, CommitUnknown)
    assert head_count(db) == 0


# I5 I42
def test_a_connection_lost_while_committing_means_that_the_outcome_is_unknown(db):
    with pytest.raises(CommitUnknown) as lost, db.transaction() as tx:
        terminate(db, tx)
    assert lost.value.code == "outcome_unknown"
    assert not postgres.in_transaction()


# I42
def test_sessions_ended_between_uses_are_not_noticed_by_anyone(db):
    with db.transaction() as first, db.transaction() as second:
        ended = [first.conn.info.backend_pid, second.conn.info.backend_pid]
    with psycopg.connect(db.admin_dsn, autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(pid, 5000) from unnest(%s) pid", (ended,))
    for _ in range(4):
        customers(db, 1)
    assert head_count(db) == 4


# I42
def test_an_error_of_the_program_in_a_broken_transaction_stays_what_it_was(db):
    with pytest.raises(KeyError), db.transaction() as tx:
        terminate(db, tx)
        raise KeyError("mine")
    assert head_count(db) == 0


# I42
def test_a_pool_without_a_free_connection_says_so_in_time(database):  # S1.1
    small = Database(database.dsn, max_size=1, wait_timeout_s=0.2)
    with small.transaction(), pytest.raises(DatabaseUnavailable, match="No connection was free"):
        small.ping()
    assert small.ping() < 5
    small.close()


def answers(db: Database) -> bool:
    try:
        return db.ping() >= 0
    except DatabaseUnavailable:
        return False


# I42
def test_a_server_that_was_away_is_used_again_soon_after_it_is_back(tmp_path):  # S1.1
    where = databases.scratch_place() / f"paydesk-away-{tmp_path.name}"
    settings = {"fsync": "off"}
    with embedded.start(where, settings=settings, ephemeral=True) as server:
        db = Database(server.dsn, wait_timeout_s=0.3)
        db.open()
        port = server.port
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        db.ping()
    with embedded.start(where, settings=settings, port=port, ephemeral=True) as server:
        db.dsn = server.dsn  # An ephemeral server has other passwords each time.
        db.close()
        assert db.ping() < 5
        killed = server.pid
        os.kill(killed, 9)
        started = time.monotonic()
        while server.pid in (0, killed) or not answers(db):
            assert time.monotonic() - started < 10
            time.sleep(0.01)
        db.close()


def test_opening_a_database_that_is_not_there_says_why():
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", wait_timeout_s=0.2)
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        nowhere.open()
    with pytest.raises(DatabaseUnavailable):
        nowhere.ping()
    nowhere.close()


FORK = """
import os, sys
from paydesk.db import postgres
db = postgres.Database(sys.argv[1], min_size=1, max_size=2)
with db.transaction() as tx:
    mine = tx.conn.info.backend_pid
    child = os.fork()
    if child == 0:
        assert not postgres.in_transaction()
        with db.transaction() as own:
            assert own.conn.info.backend_pid != mine
            own.run("insert into heads (customer_id) values (gen_random_uuid())")
        db.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    tx.run("insert into heads (customer_id) values (gen_random_uuid())")
    assert tx.conn.info.backend_pid == mine
for _ in range(4):
    db.ping()
db.close()
"""


def test_a_forked_process_takes_connections_of_its_own_and_harms_no_inherited_one(db):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, db.dsn], env=environment, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert head_count(db) == 2


def test_with_a_role_the_owner_of_the_tables_is_held_to_append_only_too(database):
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("grant paydesk_app to paydesk_owner")
    db = Database(database.owner_dsn, role="paydesk_app")
    with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction() as tx:
        tx.run("delete from transfers")
    db.close()

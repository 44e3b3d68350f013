"""Migrations: once each, forward only, beside live writers, whoever starts them and how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from paydesk.db import embedded, migrate
from paydesk.db.errors import DatabaseUnavailable, MigrationRefused
from paydesk.db.migrate import Script
from paydesk.testing import databases
from paydesk.testing.databases import TestDatabase


def migration(name: str, text: str) -> Script:
    return Script(name, "migration", text)


def function(name: str, text: str) -> Script:
    return Script(name, "function", text)


FIRST = migration("0001_first", "create table things (id int primary key, name text);")
SECOND = migration("0002_second", "alter table things add column color text;")
DOUBLE = function(
    "double_v1",
    "create function double_v1(n int) returns int language sql as $$ select n * 2; $$;",
)


def ask(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(query.encode()).fetchone()
        return row[0] if row else None


# I45
def test_the_packaged_schema_applies_once_and_a_second_run_does_nothing(empty_database):  # S1.9
    steps: list[str] = []
    names = [script.name for script in migrate.packaged()]
    assert migrate.migrate(empty_database.owner_dsn, on_step=steps.append) == names == steps
    assert migrate.migrate(empty_database.owner_dsn) == []
    status = migrate.status(empty_database.dsn)
    assert status.is_current
    assert status.applied == names
    assert status.warnings == []


def test_files_apply_in_order_and_functions_after_them(empty_database):
    dsn = empty_database.owner_dsn
    assert migrate.migrate(dsn, scripts=[FIRST, SECOND, DOUBLE]) == [
        "0001_first", "0002_second", "double_v1",
    ]  # fmt: skip
    assert ask(dsn, "select double_v1(21)") == 42


def test_a_changed_file_is_refused_and_nothing_else_is_applied(empty_database):
    dsn = empty_database.owner_dsn
    migrate.migrate(dsn, scripts=[FIRST, DOUBLE])
    changed = migration("0001_first", FIRST.text + " ")
    with pytest.raises(MigrationRefused, match=r"0001_first\.sql was changed"):
        migrate.migrate(dsn, scripts=[changed, SECOND, DOUBLE])
    with pytest.raises(MigrationRefused, match="new version in its name"):
        migrate.migrate(dsn, scripts=[FIRST, function("double_v1", DOUBLE.text + " ")])
    status = migrate.status(dsn, scripts=[changed, SECOND, DOUBLE])
    assert (status.changed, status.pending) == (["0001_first"], ["0002_second"])
    assert "0001_first was changed after it had been applied" in status.warnings


def test_a_failing_file_is_undone_whole_and_earlier_ones_stay(empty_database):
    dsn = empty_database.owner_dsn
    bad = migration("0002_bad", "create table half (id int); select 1 / 0;")
    with pytest.raises(MigrationRefused, match=r"0002_bad\.sql failed: division by zero"):
        migrate.migrate(dsn, scripts=[FIRST, bad])
    assert ask(dsn, "select to_regclass('half')") is None
    assert migrate.migrate(dsn, scripts=[FIRST, SECOND]) == ["0002_second"]


# I45
def test_eight_migrators_at_once_apply_each_file_once(empty_database):
    scripts = [migration("0001_slow", "select pg_sleep(0.2); create table once (id int);"), DOUBLE]
    with ThreadPoolExecutor(8) as pool:
        results = list(
            pool.map(lambda _: migrate.migrate(empty_database.owner_dsn, scripts=scripts), range(8))
        )
    assert sorted(results, key=len) == [*[[]] * 7, ["0001_slow", "double_v1"]]


def test_a_migrator_does_not_wait_for_ever_for_another(empty_database, monkeypatch):
    monkeypatch.setattr(migrate, "_LOCK_WAIT_S", 0.3)
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", (migrate._LOCK_KEY,))
        with pytest.raises(DatabaseUnavailable, match="Another process"):
            migrate.migrate(empty_database.owner_dsn, scripts=[FIRST])


def test_code_of_yesterday_runs_on_the_schema_of_tomorrow_and_says_so(empty_database):
    dsn = empty_database.owner_dsn
    migrate.migrate(dsn, scripts=[FIRST, SECOND])
    assert migrate.migrate(dsn, scripts=[FIRST]) == []
    status = migrate.status(dsn, scripts=[FIRST])
    assert status.is_current
    assert status.unknown == ["0002_second"]
    assert "applied by a newer version: 0002_second" in status.warnings


# I45
def test_a_migration_steps_back_for_live_writers_and_comes_again(empty_database, monkeypatch):
    monkeypatch.setattr(migrate, "_LOCK_TIMEOUT_MS", 200)
    dsn = empty_database.owner_dsn
    migrate.migrate(dsn, scripts=[FIRST])
    waits_s: list[float] = []
    done = threading.Event()

    def write_all_the_time() -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            number = 0
            while not done.is_set():
                number += 1
                before = time.monotonic()
                conn.execute("insert into things (id) values (%s)", (number,))
                waits_s.append(time.monotonic() - before)

    with psycopg.connect(dsn) as reader:
        reader.execute("select count(*) from things")  # Holds off every change of the table.
        writer = threading.Thread(target=write_all_the_time)
        letting_go = threading.Timer(1.0, reader.rollback)
        writer.start()
        letting_go.start()
        try:
            assert migrate.migrate(dsn, scripts=[FIRST, SECOND]) == ["0002_second"]
        finally:
            done.set()
            writer.join()
            letting_go.join()
    # Nobody queued behind the migration for longer than its lock time-out, give or take a load.
    assert 0.1 < max(waits_s) < 0.9


def test_a_migration_gives_up_after_several_attempts(empty_database, monkeypatch):
    monkeypatch.setattr(migrate, "_LOCK_TIMEOUT_MS", 10)
    monkeypatch.setattr(migrate, "_ATTEMPTS", 2)
    dsn = empty_database.owner_dsn
    migrate.migrate(dsn, scripts=[FIRST])
    with psycopg.connect(dsn) as reader:
        reader.execute("select count(*) from things")
        with pytest.raises(MigrationRefused, match="given up"):
            migrate.migrate(dsn, scripts=[FIRST, SECOND])


def test_a_statement_that_takes_too_long_is_stopped(empty_database, monkeypatch):
    monkeypatch.setattr(migrate, "_STATEMENT_TIMEOUT_MS", 50)
    monkeypatch.setattr(migrate, "_ATTEMPTS", 5)
    with pytest.raises(MigrationRefused, match="statement timeout"):
        migrate.migrate(
            empty_database.owner_dsn, scripts=[migration("0001_long", "select pg_sleep(60)")]
        )


# I45
def test_an_index_is_built_beside_an_open_write_and_interrupted_files_start_again(empty_database):
    dsn = empty_database.owner_dsn
    migrate.migrate(dsn, scripts=[FIRST])
    index = migration(
        "0002_index",
        "-- no transaction\n"
        "drop index concurrently if exists things_name;\n"
        "create index concurrently things_name on things (name); -- it; may wait\n",
    )
    broken = migration("0002_index", index.text + "select 1 / 0;")
    with pytest.raises(MigrationRefused, match="division by zero"):
        migrate.migrate(dsn, scripts=[FIRST, broken])
    with psycopg.connect(dsn) as writer:
        writer.execute("insert into things (id) values (1)")
        letting_go = threading.Timer(0.3, writer.commit)
        letting_go.start()
        assert migrate.migrate(dsn, scripts=[FIRST, index]) == ["0002_index"]
        letting_go.join()
    assert ask(dsn, "select indisvalid from pg_index where indexrelid = 'things_name'::regclass")


def test_a_script_is_split_at_its_own_semicolons_only():
    text = """-- one; two
    select 'a;b', "c;d" /* e;f */; do $x$ begin perform 1; end $x$;
    -- the end;
    """
    first, second = migrate.statements(text)
    assert first.endswith("/* e;f */")
    assert second == "do $x$ begin perform 1; end $x$"


# I4
def test_the_application_may_not_change_what_is_append_only(database: TestDatabase):  # S4.2
    with psycopg.connect(database.dsn, autocommit=True) as app:
        for table in ("transfers", "events", "schema_migrations"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(sql.SQL("delete from {}").format(sql.Identifier(table)))


@pytest.fixture
def strange_server(tmp_path) -> Iterator[embedded.Server]:
    """A server on which no role of ours has the name it should have."""
    settings = {"fsync": "off"}
    where = databases.scratch_place() / f"paydesk-strange-{tmp_path.name}"
    with embedded.start(where, settings=settings, ephemeral=True) as server:
        with psycopg.connect(server.admin_dsn, autocommit=True) as admin:
            admin.execute("alter role paydesk_app rename to formerly_app")
        yield server


def test_a_database_of_someone_elses_server_works_with_and_without_the_right_to_make_roles(
    strange_server,
):
    scripts = [FIRST, migration("0002_grants", "grant select on things to paydesk_app;")]
    with psycopg.connect(strange_server.admin_dsn, autocommit=True) as admin:
        admin.execute("create role plain login password 'plain'")
        admin.execute("create role able login createrole password 'able'")
        for name in ("plain", "able"):
            admin.execute(f"create database db_{name} owner {name}".encode())
    plain, able = (
        make_conninfo(strange_server.admin_dsn, user=name, password=name, dbname=f"db_{name}")
        for name in ("plain", "able")
    )
    assert migrate.migrate(plain, scripts=scripts) == ["0001_first", "0002_grants"]
    status = migrate.status(plain, scripts=scripts)
    assert status.is_current
    assert "not by privilege" in status.warnings[0]

    assert migrate.migrate(able, scripts=scripts) == ["0001_first", "0002_grants"]
    assert migrate.status(able, scripts=scripts).warnings == []
    with psycopg.connect(able, autocommit=True) as conn:
        conn.execute("set role paydesk_app")
        conn.execute("select * from things")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("delete from things")


def test_a_server_that_is_not_there_is_said_to_be_not_there():
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    with pytest.raises(DatabaseUnavailable):
        migrate.migrate(nowhere)
    with pytest.raises(DatabaseUnavailable):
        migrate.status(nowhere)

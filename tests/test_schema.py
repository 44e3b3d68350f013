"""The schema obeys the rules that let it be distributed later: keys, uniqueness, references."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAP = tomllib.loads((ROOT / "src/paydesk/db/distribution.toml").read_text(encoding="utf-8"))
OWNED = set(MAP["owned"]["tables"])
OTHER: dict[str, str] = MAP["other"]
REFERENCE = set(MAP["reference"]["tables"])
LOCAL = set(MAP["local"]["tables"])

#: Append-only and hot tables bear no foreign keys; `paydesk doctor` proves what they would.
NO_FOREIGN_KEYS = {"transfers", "draws", "batches", "accounts", "events", "provider_events"}


def tables(db) -> set[str]:
    with db.read() as tx:
        rows = tx.all("select tablename as name from pg_tables where schemaname = 'public'")
    return {row["name"] for row in rows}


def test_every_table_is_in_the_distribution_map_once(db):
    parts = [OWNED, set(OTHER), REFERENCE, LOCAL]
    assert sum(map(len, parts)) == len(set().union(*parts))
    assert tables(db) == set().union(*parts)


def test_every_unique_constraint_contains_the_tables_key(db):
    with db.read() as tx:
        rows = tx.all(
            """
            select c.relname as name, i.relname as index_name,
                   array_agg(a.attname::text order by k.n) as columns
            from pg_index x
            join pg_class c on c.oid = x.indrelid
            join pg_class i on i.oid = x.indexrelid
            join pg_namespace s on s.oid = c.relnamespace and s.nspname = 'public'
            cross join lateral unnest(x.indkey) with ordinality k(attnum, n)
            join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
            where x.indisunique
            group by 1, 2
            """
        )
    assert rows
    for row in rows:
        if row["name"] in OWNED:
            assert row["columns"][0] == "customer_id", row
        elif row["name"] in OTHER:
            assert OTHER[row["name"]] in row["columns"], row


def test_owned_tables_carry_a_customer_that_is_never_null(db):
    with db.read() as tx:
        rows = tx.all(
            """
            select table_name as name, data_type, is_nullable from information_schema.columns
            where table_schema = 'public' and column_name = 'customer_id'
            """
        )
    found = {row["name"]: row for row in rows}
    for name in OWNED:
        assert found[name]["data_type"] == "uuid" and found[name]["is_nullable"] == "NO", name


def test_foreign_keys_pair_the_customer_or_point_at_reference_tables(db):
    with db.read() as tx:
        rows = tx.all(
            """
            select c.conname, c.conrelid::regclass::text as source,
                   c.confrelid::regclass::text as target, c.confdeltype::text as on_delete,
                   (select array_agg(a.attname::text order by k.n)
                    from unnest(c.conkey) with ordinality k(attnum, n)
                    join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum)
                    as columns
            from pg_constraint c where c.contype = 'f'
            """
        )
    assert rows
    for row in rows:
        assert row["source"] not in NO_FOREIGN_KEYS, row
        if row["target"] in REFERENCE:
            continue
        assert row["source"] in OWNED and row["target"] in OWNED, row
        assert row["columns"][0] == "customer_id", row
        assert row["on_delete"] == "a", row


def test_money_and_times_have_one_type_each(db):
    # I11
    with db.read() as tx:
        rows = tx.all(
            """
            select table_name as name, column_name as col, data_type
            from information_schema.columns where table_schema = 'public'
            """
        )
    for row in rows:
        if row["col"].endswith("_minor") or row["col"] in {"amount", "balance", "remaining"}:
            assert row["data_type"] == "bigint", row
        if row["col"].endswith("_at"):
            assert row["data_type"] == "timestamp with time zone", row
        assert row["data_type"] not in {"real", "double precision", "money"}, row


def test_no_index_holds_a_column_that_hot_postings_change(db):
    """Only HOT updates on heads, accounts and batches; `open` flips once in a batch's life."""
    hot = {
        "heads": {"seq", "entry_seq", "last_at", "day", "day_used"},
        "accounts": {"balance", "next_expiry"},
        "batches": {"remaining", "owed"},
    }
    with db.read() as tx:
        rows = tx.all(
            """
            select c.relname as name, i.relname as index_name, a.attname::text as col,
                   pg_get_expr(x.indpred, x.indrelid) as predicate
            from pg_index x
            join pg_class c on c.oid = x.indrelid
            join pg_class i on i.oid = x.indexrelid
            join pg_namespace s on s.oid = c.relnamespace and s.nspname = 'public'
            join pg_attribute a on a.attrelid = c.oid and a.attnum = any (x.indkey)
            """
        )
    for row in rows:
        columns = hot.get(row["name"], set())
        assert row["col"] not in columns, row
        named = {c for c in columns if row["predicate"] and c in row["predicate"]}
        assert named <= {"owed"}, row


def test_the_schema_stays_within_postgresql_15(db):
    """Nothing that only a newer server has: no virtual columns, no uuidv7()."""
    texts = [
        p.read_text(encoding="utf-8").lower() for p in (ROOT / "src/paydesk/db").rglob("*.sql")
    ]
    assert texts
    for text in texts:
        for word in ("uuidv7(", " virtual", "without overlaps", "any_value(", "merge into"):
            assert word not in text, word


def test_a_changed_row_says_when_it_was_changed(db, make):  # S1.10
    with db.read() as tx:
        rows = tx.all(
            """
            select c.table_name as name, exists (
                select 1 from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                where t.tgrelid = c.table_name::regclass and p.proname = 'touch_updated_at'
                  and t.tgenabled = 'O') as touched
            from information_schema.columns c
            join information_schema.tables s using (table_schema, table_name)
            where c.table_schema = 'public' and c.column_name = 'updated_at'
              and s.table_type = 'BASE TABLE'
            """
        )
    assert rows and all(row["touched"] for row in rows), rows
    user = make.user()
    when = "select updated_at from customers where customer_id = %(id)s"
    with db.read() as tx:
        before = tx.value(when, {"id": user.uuid})
    with db.transaction() as tx:
        tx.run(
            "update customers set name = 'Ada', updated_at = 'epoch' where customer_id = %(id)s",
            {"id": user.uuid},
        )
    with db.read() as tx:
        assert tx.value(when, {"id": user.uuid}) > before


@pytest.mark.parametrize("column", ["customer_id", "state", "method", "created_at"])
def test_payments_are_indexed_by_user_status_method_and_time(db, column):
    # S3.5
    with db.read() as tx:
        found = tx.all(
            "select i.indexrelid::regclass::text as name from pg_index i"
            " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
            " where i.indrelid = 'payments'::regclass and a.attname = %(column)s",
            {"column": column},
        )
    assert found

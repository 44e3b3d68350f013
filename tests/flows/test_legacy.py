"""Old tables are brought over once, with their books, from dumps of two kinds and from a DSN."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from paydesk.errors import InvalidRequest
from paydesk.flows import access, legacy, payment_records, payments, refunds, reports, services
from paydesk.http.compat import payment_records as records
from paydesk.rules.money import USD, Money

MYSQL = """-- MySQL dump 10.13
CREATE TABLE `customer_services` (
  `id` char(36) NOT NULL,
  `customer_id` char(36) NOT NULL,
  `service_type` varchar(50) NOT NULL,
  `active` tinyint(1) DEFAULT '0',
  `subscription_duration` int DEFAULT NULL,
  `subscription_expires_at` timestamp NULL,
  `subscription_fee` decimal(10,2),
  `payment_status` enum('pending','paid') DEFAULT 'pending',
  PRIMARY KEY (`id`)
) ENGINE=InnoDB;
INSERT INTO `customer_services` VALUES ('srv-1','cust-1','premium_membership',1,6,'2999-01-01 00:00:00',549.99,'paid'),('srv-2','cust-2','premium_membership',0,6,NULL,549.99,'pending');
CREATE TABLE `payments` (
  `id` char(36) NOT NULL, `customer_id` char(36) NOT NULL, `service_id` char(36),
  `payment_intent_id` varchar(255) NOT NULL, `payment_type` enum('subscription','refund'),
  `payment_method` varchar(20), `status` varchar(20), `amount` decimal(10,2), `currency` varchar(3),
  `description` varchar(500), `external_payment_id` varchar(255), `paid_at` timestamp NULL,
  `failure_reason` text, `payment_metadata` json, `refunded_amount` decimal(10,2),
  `refunded_at` timestamp NULL, `refund_reason` varchar(255), `created_at` timestamp,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB;
INSERT INTO `payments` VALUES
('p-1','cust-1','srv-1','payment_123456_abc','subscription','stripe','succeeded',549.99,'USD','It\\'s 6 months; all','pi_old1','2025-01-02 09:15:00',NULL,'{"n": 1}',0.00,NULL,NULL,'2025-01-02 09:00:00'),
('p-2','cust-1',NULL,'payment_2_b','subscription','credit_card','partially_refunded',100.00,'USD',NULL,'pi_old2','2025-02-01 00:00:00',NULL,NULL,30.00,'2025-02-03 00:00:00','damaged','2025-02-01 00:00:00'),
('p-3','cust-2','srv-2','payment_3_c','subscription','paypal','failed',549.99,'USD',NULL,NULL,NULL,'card declined',NULL,NULL,NULL,NULL,'2025-03-01 00:00:00'),
('p-4','cust-2',NULL,'payment_4_d','refund','stripe','succeeded',10.00,'USD',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2025-03-02 00:00:00'),
('p-5','cust-3',NULL,'payment_5_e','subscription','stripe','exploded',10.00,'USD',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2025-03-03 00:00:00');
"""  # noqa: E501
POSTGRES = """-- PostgreSQL database dump
CREATE TABLE public.payment_transactions (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    amount_cents integer NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb
);
COPY public.payment_transactions (id, user_id, amount_cents, amount_usd, credits_to_add, status, provider, provider_session_id, package_id, credits_added, credits_added_at, created_at, completed_at, error_message, metadata) FROM stdin;
3f0f3f7e-0000-4000-8000-000000000001\t3f0f3f7e-0000-4000-8000-0000000000aa\t999\t9.99\t150\tcompleted\tstripe\tcs_old1\tcreator\tt\t2025-04-01 10:00:05\t2025-04-01 10:00:00\t2025-04-01 10:00:04\t\\N\t{"a": "b\\\\nc"}
3f0f3f7e-0000-4000-8000-000000000002\t3f0f3f7e-0000-4000-8000-0000000000aa\t999\t9.99\t150\tpending\tstripe\t\\N\tcreator\tf\t\\N\t2025-04-02 10:00:00\t\\N\ttab\\there\t{}
\\.
INSERT INTO public.user_access (id, user_id, resource_type, resource_id, granted_at, expires_at, is_active) VALUES (7, 'u-7', 'course', 'python', '2025-01-01 00:00:00+00', NULL, true), (8, 'u-7', 'lab', 'k8s', '2025-01-01 00:00:00+00', '2025-06-01 00:00:00+00', true);
INSERT INTO public.user_stripe_mapping (user_id, stripe_customer_id) VALUES ('u-7', 'cus_old7');
INSERT INTO public.payment_methods (id, user_id, stripe_payment_method_id, type, card_brand, card_last4, card_exp_month, card_exp_year) VALUES (1, 'u-7', 'pm_old1', 'card', 'visa', '4242', 12, 2031);
INSERT INTO public."Payment" (id, user_id, amount, currency, method, status, reference, stripe_payment_intent_id, completed_at, created_at) VALUES ('w-1', 'u-7', 2500.00, 'HTG', 'MONCASH', 'COMPLETED', 'ref-9', NULL, '2025-05-01 00:00:00', '2025-05-01 00:00:00');
"""  # noqa: E501


@pytest.fixture
def dump(tmp_path: Path) -> Any:
    def write(text: str, name: str = "old.sql") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def run(env: Any, source: str, **more: Any) -> legacy.Result:
    return legacy.import_tables(env, source, by="rosa@example.com", **more)


def counts(result: legacy.Result) -> dict[str, tuple[int, int, int, int]]:
    return {t.family: (t.imported, t.known, t.skipped, t.refused) for t in result.tables}


def test_a_dry_run_judges_every_row_and_writes_nothing(env, dump):
    # S0.35
    found = run(env, dump(MYSQL))
    assert counts(found) == {
        "services.payments": (3, 0, 1, 1), "services.customer_services": (2, 0, 0, 0),
    }  # fmt: skip
    assert [(r.old_id, r.why) for r in found.refused] == [
        ("p-5", "'exploded' is no status of a payment.")
    ]
    with env.db.read() as tx:
        assert tx.value("select count(*) from payments") == 0
        assert tx.value("select count(*) from customers") == 0


def test_payments_come_with_their_books_refunds_and_old_numbers(env, dump):
    # S0.35 S0.22 I2
    source = dump(MYSQL)
    run(env, source, dry_run=False)
    one = payments.get(env, None, "payment_123456_abc")
    assert (one.state, one.captured, one.description) == (
        "succeeded", USD("549.99"), "It's 6 months; all")  # fmt: skip
    assert (one.metadata["n"], one.payment_type) == (1, "subscription")
    assert payments.get(env, None, "pi_old1").id == payments.get(env, None, "p-1").id == one.id
    part = payments.get(env, None, "p-2")
    assert (part.state, part.refunded) == ("partially_refunded", USD("30.00"))
    assert records.shape(payment_records.get(env, part.customer_id, part.id))[
        "payment_method"] == "credit_card"  # fmt: skip
    with env.db.read() as tx:  # S0.7: the table that reports read says the same.
        rows = tx.all("select payment_type::text as type, payment_method::text as method"
                      " from services.payments where customer_id = %(customer_id)s order by 1, 2",
                      {"customer_id": part.customer_id})  # fmt: skip
    assert [(row["type"], row["method"]) for row in rows] == [
        ("refund", "credit_card"), ("subscription", "credit_card"), ("subscription", "stripe"),
    ]  # fmt: skip
    (back,) = refunds.list_(env, part.customer_id, payment_id=part.id)
    assert (back.state, back.amount, back.reason) == ("succeeded", USD("30.00"), "damaged")
    assert payments.get(env, None, "p-3").error_message == "card declined"


def test_a_second_run_and_an_overlapping_dump_add_nothing(env, dump):
    # S0.35
    run(env, dump(MYSQL), dry_run=False)
    with env.db.read() as tx:
        before = tx.value("select count(*) from transfers")
    again = run(env, dump(MYSQL), dry_run=False)
    assert sum(t.imported for t in again.tables) == 0
    other = run(env, dump("-- MySQL\n" + MYSQL, "newer.sql"), dry_run=False)
    assert counts(other)["services.payments"] == (0, 3, 1, 1)
    with env.db.read() as tx:
        assert tx.value("select count(*) from transfers") == before


def test_a_run_that_was_broken_off_goes_on_where_it_stopped(env, dump, monkeypatch):
    # S0.35
    monkeypatch.setattr(legacy, "BATCH", 2)
    source, seen = dump(MYSQL), []

    def stop(done: legacy.TableResult) -> None:
        seen.append(done.read)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(env, source, dry_run=False, progress=stop)
    assert seen == [2]
    done = run(env, source, dry_run=False)
    assert counts(done)["services.customer_services"] == (0, 2, 0, 0)
    assert counts(done)["services.payments"] == (3, 0, 1, 1)


def test_a_database_that_goes_away_ends_the_run_and_blames_no_row(env, dump, monkeypatch):
    # S0.35
    source, real = dump(MYSQL), legacy._write_payments

    def gone(*args: Any) -> None:
        raise psycopg.OperationalError("server closed the connection")

    monkeypatch.setattr(legacy, "_write_payments", gone)
    with pytest.raises(psycopg.OperationalError):
        run(env, source, dry_run=False)
    monkeypatch.setattr(legacy, "_write_payments", real)
    assert counts(run(env, source, dry_run=False))["services.payments"] == (3, 0, 1, 1)


def test_a_run_that_goes_on_counts_what_was_refused_before(env, dump, monkeypatch):
    # S0.35
    monkeypatch.setattr(legacy, "BATCH", 5)
    source = dump(MYSQL.replace("INSERT INTO `payments` VALUES\n", "INSERT INTO `payments` VALUES\n"
                                "('p-0','cust-3',NULL,'payment_0','subscription','stripe','odd',"
                                "1.00,'USD',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL),\n"))

    def stop(done: legacy.TableResult) -> None:
        if done.table == "payments":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(env, source, dry_run=False, progress=stop)
    assert counts(run(env, source, dry_run=False))["services.payments"] == (0, 4, 0, 2)


def test_services_come_without_payment_status(env, dump):
    # S0.25 S0.35
    run(env, dump(MYSQL), dry_run=False)
    with env.db.read() as tx:
        rows = tx.all("select service_type, state, fee_minor, duration_months"
                      " from customer_services order by state")  # fmt: skip
    assert [(r["state"], r["fee_minor"], r["duration_months"]) for r in rows] == [
        ("active", 54999, 6), ("pending", 54999, 6)]  # fmt: skip
    one = payments.get(env, None, "p-1")
    assert one.service_id is not None
    linked = services.get(env, one.customer_id, one.service_id)
    assert (linked.active, linked.payment_id) == (True, one.id)
    assert payments.get(env, None, "p-3").service_id is not None
    again = run(env, dump(MYSQL, "again.sql"))
    assert counts(again)["services.customer_services"] == (0, 2, 0, 0)


SQLITE = r"""PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE IF NOT EXISTS "payment_transactions" ("id" TEXT NOT NULL PRIMARY KEY, user_id TEXT,
  amount_cents INTEGER NOT NULL, status TEXT, credits_to_add INTEGER, created_at INTEGER,
  metadata TEXT DEFAULT 'a, b', CHECK (amount_cents > 0));
INSERT INTO payment_transactions VALUES('t-1','u-1',999,'completed',150,1735813800123,'{"path": "C:\\"}');
INSERT INTO payment_transactions VALUES('t-2','u-1',499,'completed',50,1735813800,replace('{}','\n',char(92)||'n'));
INSERT INTO payment_transactions VALUES('t-3','u-1',499,'completed',50,1735813800,NULL);
CREATE TABLE Payment (id, user_id, amount REAL, currency, method, status, reference, description, created_at);
INSERT INTO Payment VALUES('w-1','u-1',549.99000000000000909,'USD','cash','COMPLETED','r-1',replace('Two\nlines; it''s','\n',char(10)),'2025-01-02 10:00:00');
INSERT INTO Payment VALUES('w-2','u-1',2.5,'USD','cash','COMPLETED','r-1','ends with \','2025-01-02 10:00:00');
INSERT INTO Payment VALUES('w-3','u-1',2.505,'USD','cash','COMPLETED',NULL,NULL,'2025-01-02 10:00:00');
COMMIT;
"""  # noqa: E501


def test_a_dump_of_sqlite_is_read_and_each_bad_row_is_named_by_its_line(env, dump):
    # S0.35
    found = run(env, dump(SQLITE), dry_run=False)
    assert counts(found) == {
        "credits.payment_transactions": (2, 0, 0, 1), "wallets.payments": (2, 0, 0, 1),
    }  # fmt: skip
    assert [(r.line, r.old_id) for r in found.refused] == [(7, "t-2"), (12, "w-3")]
    assert "is no constant" in found.refused[0].why
    assert payments.get(env, None, "w-2").description == "ends with \\"
    one, first = payments.get(env, None, "w-1"), payments.get(env, None, "t-1")
    assert (one.amount, one.description) == (USD("549.99"), "Two\nlines; it's")
    assert first.created_at.isoformat() == "2025-01-02T10:30:00.123000+00:00"
    assert first.metadata["path"] == "C:\\"


TANGLED = r"""--
-- PostgreSQL database dump
--
/* A comment over
   several lines; it's long */
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$
begin
  -- don't forget; this is no end
  raise notice 'it''s';
end $$;
CREATE TABLE public.payments (
    id uuid NOT NULL, -- the customer's payment
    customer_id uuid, payment_intent_id text, payment_type text, status text,
    amount numeric(10,2), description text DEFAULT 'a, (b'::text, created_at timestamp
);
INSERT INTO public.payments VALUES ('q-1', 'c-1', 'pi_1', 'subscription', 'succeeded', 10.00, 'back\slash\', '2025-01-02 10:00:00+00'), ('q-2', 'c-1', 'pi_2', 'subscription', 'succeeded', 10.00, E'it\'s\ttab', '2025-01-02 10:00:00'::timestamp without time zone),
 ('q-3', 'c-1', 'pi_3', 'subscription', 'succeeded', 10.00, now()::text, '2025-01-02'),
 ('q-4', 'c-1', 'pi_4', 'subscription', 'succeeded', 10.00),
 ('q-5', 'c-1', 'pi_5', 'subscription', 'succeeded', 'ten', NULL, '2025-01-02');
INSERT INTO public.payments (status, id, customer_id, payment_intent_id, payment_type, amount, created_at) OVERRIDING SYSTEM VALUE VALUES ('failed', 'q-6', 'c-1', 'pi_6', 'renewal', 1.5, '2025-01-02') ON CONFLICT DO NOTHING;
COPY public.payments (id, customer_id, payment_intent_id, payment_type, status, amount, description, created_at) FROM stdin;
q-7	c-1	pi_7	subscription	succeeded	10.00	a\\b\nc	2025-01-02 10:00:00
q-8	c-1	pi_8	subscription
\.
"""  # noqa: E501


def test_quotes_comments_and_functions_of_a_dump_lead_nowhere_wrong(env, dump):
    # S0.35
    found = run(env, dump(TANGLED), dry_run=False)
    assert counts(found) == {"services.payments": (4, 0, 0, 4)}
    assert [(r.line, r.old_id) for r in found.refused] == [
        (17, "q-3"), (18, "q-4"), (19, "q-5"), (23, "q-8")]  # fmt: skip
    words = {one: payments.get(env, None, one).description for one in ("q-1", "q-2", "q-7")}
    assert words == {"q-1": "back\\slash\\", "q-2": "it's\ttab", "q-7": "a\\b\nc"}
    assert payments.get(env, None, "q-6").amount == USD("1.50")


def test_bytes_that_are_no_utf8_spoil_their_own_row(env, tmp_path):
    # S0.35
    path = tmp_path / "old.sql"
    text = TANGLED.replace("'ten'", "10.00").replace("q-6", "q-\u00e9").encode()
    path.write_bytes(text.replace("\u00e9".encode(), b"\xe9"))
    found = run(env, str(path))
    assert [r.why for r in found.refused if r.line == 20] == ["id is not UTF-8."]


def test_a_postgresql_dump_brings_credits_wallets_and_learning(env, dump):
    # S2.8 S3.18 S1.8
    done = run(env, dump(POSTGRES), dry_run=False)
    assert done.ok, done.refused
    found = payments.get(env, None, UUID("3f0f3f7e-0000-4000-8000-000000000001"))
    assert (found.state, found.credits, found.credits_added) == ("succeeded", 150, True)
    assert found.metadata["a"] == "b\nc"
    assert payments.get(env, None, "cs_old1").id == found.id
    late = payments.get(env, None, "3f0f3f7e-0000-4000-8000-000000000002")
    assert (late.state, late.error_message) == ("expired", "tab\there")
    wallet = payments.get(env, None, "w-1")
    assert (wallet.amount, wallet.provider, wallet.reference) == (
        Money("2500.00", "htg"), "moncash", "ref-9")  # fmt: skip
    assert access.can(env, wallet.customer_id, "course:python")
    assert access.can(env, wallet.customer_id, "lab:k8s").reason == "expired"
    with env.db.read() as tx:
        assert tx.value("select ref from provider_customers") == "cus_old7"
        assert tx.value("select last4 from payment_methods") == "4242"
    assert reports


def test_a_running_database_is_read_and_not_changed(env, database):
    # S0.35
    with psycopg.connect(database.owner_dsn, autocommit=True) as conn:
        conn.execute("create schema old")
        conn.execute(
            "create table old.payments as select * from (values ('p-1', 'c-1', 'payment_9_z',"
            " 'renewal', 'stripe', 'succeeded', 12.50, 'EUR', now())) v (id, customer_id,"
            " payment_intent_id, payment_type, payment_method, status, amount, currency,"
            " created_at)"
        )
        done = run(env, database.owner_dsn, dry_run=False, schema="old")
        assert counts(done) == {"services.payments": (1, 0, 0, 0)}
        assert conn.execute("select count(*) from old.payments").fetchone() == (1,)
        conn.execute("drop schema old cascade")
    assert payments.get(env, None, "payment_9_z").captured == Money("12.50", "eur")


def test_rows_that_came_or_were_mended_since_are_brought_over_by_the_next_run(env, database):
    # S0.35
    row = "('{0}', 'c-1', 'payment_{0}_z', 'renewal', 'stripe', '{1}', 12.50, 'EUR', now())"
    with psycopg.connect(database.owner_dsn, autocommit=True) as conn:
        conn.execute("create schema old")
        conn.execute(
            "create table old.payments (id text, customer_id text, payment_intent_id text,"
            " payment_type text, payment_method text, status text, amount numeric(10, 2),"
            " currency text, created_at timestamptz)"
        )
        into = "insert into old.payments values "
        conn.execute(into + row.format("m", "succeeded") + "," + row.format("n", "odd"))
        first = run(env, database.owner_dsn, dry_run=False, schema="old")
        assert counts(first) == {"services.payments": (1, 0, 0, 1)}
        conn.execute("update old.payments set status = 'succeeded' where id = 'n'")
        conn.execute(into + row.format("a", "succeeded"))
        second = run(env, database.owner_dsn, dry_run=False, schema="old")
        assert counts(second) == {"services.payments": (2, 1, 0, 0)}
        conn.execute("drop schema old cascade")


@pytest.mark.parametrize("text", ["", "select 1;", "PGDMP...", "create table a (b int);"])
def test_what_holds_no_known_table_is_refused(env, dump, text):
    with pytest.raises(InvalidRequest):
        run(env, dump(text))


def test_a_missing_file_and_a_database_that_cannot_be_reached_are_named(env):
    for source in ("/nowhere/old.sql", "postgresql://nobody:secret@127.0.0.1:9/x"):
        with pytest.raises(InvalidRequest) as caught:
            run(env, source)
        assert "secret" not in str(caught.value)

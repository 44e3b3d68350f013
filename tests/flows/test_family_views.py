"""The services, learning and wallets families' tables, as views with their documents' names."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from paydesk.flows import checkout, items, offline, refunds, wallets
from paydesk.flows.checkout import StartCheckout
from paydesk.rules.money import EXPONENTS, HTG, USD

#: Column -> (type, length or precision), as the documents write their tables.
DOCUMENTS = {
    ("services", "payments"): {
        "id": ("uuid", None), "customer_id": ("uuid", None), "service_id": ("uuid", None),
        "payment_intent_id": ("character varying", 255), "payment_type": ("payment_type", None),
        "payment_method": ("payment_method", None), "status": ("payment_status", None),
        "amount": ("numeric", (10, 2)), "currency": ("character varying", 3),
        "description": ("character varying", 500),
        "external_payment_id": ("character varying", 255),
        "payment_url": ("character varying", 1000),
        "payment_url_expires_at": ("timestamp without time zone", None),
        "paid_at": ("timestamp without time zone", None),
        "failed_at": ("timestamp without time zone", None),
        "canceled_at": ("timestamp without time zone", None), "failure_reason": ("text", None),
        "payment_metadata": ("json", None), "provider_response": ("json", None),
        "refunded_amount": ("numeric", (10, 2)),
        "refunded_at": ("timestamp without time zone", None),
        "refund_reason": ("character varying", 255),
        "created_at": ("timestamp without time zone", None),
        "updated_at": ("timestamp without time zone", None),
    },
    ("wallets", "Payment"): {
        "id": ("uuid", None), "user_id": ("uuid", None), "amount": ("numeric", (15, 2)),
        "currency": ("character varying", 3), "method": ("payment_method", None),
        "status": ("payment_status", None), "description": ("text", None),
        "reference": ("text", None), "stripe_payment_intent_id": ("text", None),
        "metadata": ("jsonb", None), "completed_at": ("timestamp without time zone", None),
        "created_at": ("timestamp without time zone", None),
        "updated_at": ("timestamp without time zone", None),
    },
}  # fmt: skip
ENUMS = {
    ("services", "payment_type"): ["subscription", "renewal", "upgrade", "refund"],
    ("services", "payment_status"): [
        "pending", "processing", "succeeded", "failed", "canceled", "refunded",
        "partially_refunded",
    ],
    ("services", "payment_method"): [
        "credit_card", "debit_card", "bank_transfer", "paypal", "stripe", "crypto", "other",
    ],
    ("wallets", "payment_status"): [
        "PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "REFUNDED",
    ],
}  # fmt: skip


@pytest.mark.parametrize("table", DOCUMENTS)
def test_a_familys_table_has_its_documents_names_and_types(db, table):
    # S0.1 S0.2 S0.6 S0.7 S0.8 S0.9 S0.11 S0.12 S0.13 S0.15 S0.16 S0.17 S0.18 S0.19 S3.4
    with db.read() as tx:
        rows = tx.all(
            "select column_name, data_type, udt_name, character_maximum_length as length,"
            " numeric_precision as p, numeric_scale as s from information_schema.columns"
            " where table_schema = %(schema)s and table_name = %(name)s order by ordinal_position",
            {"schema": table[0], "name": table[1]},
        )
    found = {
        r["column_name"]: (
            r["udt_name"] if r["data_type"] == "USER-DEFINED" else r["data_type"],
            r["length"] or ((r["p"], r["s"]) if r["data_type"] == "numeric" else None),
        )
        for r in rows
    }
    assert found == DOCUMENTS[table]


@pytest.mark.parametrize("name", ENUMS)
def test_an_enumeration_has_its_documents_words(db, name):
    # S0.6 S0.7 S0.8 S3.4
    with db.read() as tx:
        words = tx.all(
            "select e.enumlabel as word from pg_enum e join pg_type t on t.oid = e.enumtypid"
            " join pg_namespace n on n.oid = t.typnamespace"
            " where n.nspname = %(schema)s and t.typname = %(name)s order by e.enumsortorder",
            {"schema": name[0], "name": name[1]},
        )
    assert [w["word"] for w in words] == ENUMS[name]


def test_customer_services_have_no_payment_status(db):
    # S0.25 S0.35
    with db.read() as tx:
        rows = tx.all(
            "select column_name from information_schema.columns"
            " where table_name = 'customer_services'"
        )
    names = {r["column_name"] for r in rows}
    assert {"service_type", "active", "subscription_duration", "subscription_fee"} <= names
    assert "payment_status" not in names


@pytest.mark.parametrize(
    "table",
    ["payments", "payment_methods", "purchases", "user_access", "user_stripe_mapping",
     "subscription_plans", "subscriptions", "invoices"],
)
def test_the_learning_familys_tables_can_be_read(db, table):
    # S1.8
    with db.read() as tx:
        found = tx.all(
            "select 1 as one from information_schema.views"
            " where table_schema = 'learning' and table_name = %(table)s", {"table": table},
        )  # fmt: skip
    assert found


def test_amounts_have_the_digits_of_their_currency(db):
    # I12
    with db.read() as tx:
        rows = tx.all(
            "select code, services.major(123456, code) as amount"
            " from unnest(%(codes)s::text[]) as t(code)",
            {"codes": sorted(EXPONENTS)},
        )
    scaled = {r["code"]: r["amount"] * 10 ** EXPONENTS[r["code"]] for r in rows}
    assert scaled == dict.fromkeys(EXPONENTS, 123456)


def test_a_purchase_and_its_refund_show_in_every_familys_words(env, make):
    # S0.22 S1.8 S3.4 C2 C5
    who = make.user("user_1")
    items.upsert(
        env, "python", name="Python", price=USD("40.00"),
        grants=[{"type": "course", "id": "python"}],
    )  # fmt: skip
    view = checkout.start(env, StartCheckout(customer_id=who.uuid, item="python",
                                             provider="manual"))  # fmt: skip
    with env.db.read() as tx:
        assert tx.value("select status::text from wallets.\"Payment\"") == "PENDING"
        assert tx.value("select status from learning.purchases") == "pending"
    offline.confirm(env, who.uuid, view.payment.id, by="rosa", reference="R1", method="cash")
    with env.db.read() as tx:
        paid = tx.one("select * from services.payments")
        assert (paid["status"], str(paid["amount"]), paid["currency"]) == (
            "succeeded", "40.00", "USD")  # fmt: skip
        assert tx.value("select is_active from learning.user_access")
        assert tx.value("select method::text from wallets.\"Payment\"") == "CASH"
    refunds.request(
        env,
        refunds.WantRefund(customer_id=who.uuid, payment_id=view.payment.id, by="rosa",
                           reason="requested_by_customer", request_key=uuid4(),
                           request_hash=b"1"),
    )  # fmt: skip
    with env.db.read() as tx:
        rows = tx.all("select payment_type::text as type, status::text as status, amount"
                      " from services.payments order by created_at")  # fmt: skip
        assert [r["type"] for r in rows][1:] == ["refund"]
        assert str(rows[1]["amount"]) == "40.00"
        assert not tx.value("select is_active from learning.user_access")
        assert tx.value("select status::text from wallets.\"Payment\"") == "REFUNDED"


def test_the_wallets_of_a_customer_show_their_balances(env, make):
    # S3.15
    who = make.user("user_1")
    view = checkout.start(env, StartCheckout(customer_id=who.uuid, wallet=HTG("250.00"),
                                             provider="manual"))  # fmt: skip
    offline.confirm(env, who.uuid, view.payment.id, by="rosa")
    with env.db.read() as tx:
        found = tx.one("select balance, currency, is_frozen from wallets.\"Wallet\"")
    assert (str(found["balance"]), found["currency"]) == ("250.00", "HTG")
    assert not found["is_frozen"]
    with env.db.read() as tx:
        assert [w.currency for w in wallets.list_(tx, who.uuid)] == ["htg"]


def test_nothing_can_be_changed_through_a_view(env):
    for table in ("services.payments", "learning.payments", 'wallets."Payment"'):
        with pytest.raises(psycopg.Error), env.db.transaction() as tx:
            tx.conn.execute(f"delete from {table}")  # type: ignore[arg-type]  # noqa: S608

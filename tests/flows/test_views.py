"""The documents' literal tables stand as read-only views in a schema for each family."""

from __future__ import annotations

import psycopg
import pytest

from paydesk.flows import checkout
from paydesk.flows.checkout import StartCheckout

#: Column -> type, as the credits family's document writes its table.
PAYMENT_TRANSACTIONS = {
    "id": "uuid", "user_id": "uuid", "amount_cents": "integer", "amount_usd": "numeric",
    "credits_to_add": "integer", "status": "text", "provider": "text",
    "provider_session_id": "text", "provider_payment_id": "text", "package_id": "text",
    "package_name": "text", "credits_added": "boolean",
    "credits_added_at": "timestamp without time zone", "credit_transaction_id": "uuid",
    "created_at": "timestamp without time zone", "updated_at": "timestamp without time zone",
    "completed_at": "timestamp without time zone", "expires_at": "timestamp without time zone",
    "error_message": "text", "error_code": "text", "metadata": "jsonb",
}  # fmt: skip


def test_the_credits_familys_table_has_its_documents_names_and_types(db):
    # S2.18
    with db.read() as tx:
        rows = tx.all(
            "select column_name, data_type from information_schema.columns"
            " where table_schema = 'credits' and table_name = 'payment_transactions'"
            " order by ordinal_position"
        )
        usd = tx.one(
            "select numeric_precision as p, numeric_scale as s from information_schema.columns"
            " where table_schema = 'credits' and column_name = 'amount_usd'"
        )
    assert [(r["column_name"], r["data_type"]) for r in rows] == list(PAYMENT_TRANSACTIONS.items())
    assert usd == {"p": 10, "s": 2}


def test_a_payment_shows_in_the_credits_familys_words_and_cannot_be_changed_there(env, sim, make):
    # S2.11 S2.18
    make.pack()
    user = make.user()
    view = checkout.start(env, StartCheckout(customer_id=user.uuid, pack="creator"))
    with env.db.read() as tx:
        before = tx.one("select * from credits.payment_transactions")
    assert (before["status"], before["credits_added"]) == ("pending", False)
    sim.pay(view.payment.session_ref)
    checkout.verify(env, view.payment.session_ref, user.uuid)
    with env.db.read() as tx:
        after = tx.one("select * from credits.payment_transactions")
    assert (after["id"], after["user_id"]) == (view.payment.id, user.uuid)
    assert (after["status"], after["credits_added"]) == ("completed", True)
    assert (after["amount_cents"], str(after["amount_usd"])) == (999, "9.99")
    assert after["credits_to_add"] == 150
    with pytest.raises(psycopg.Error), env.db.transaction() as tx:
        tx.run("update credits.payment_transactions set package_id = 'x' where id is not null")
